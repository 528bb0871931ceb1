import assert from 'node:assert/strict'
import { fork } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, fstatSync, openSync, readFileSync, writeFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { type Bell, listen, ownBell, ring, stopListening } from '../../src/os/doorbell.ts'
import { fixture } from '../fixtures/code.ts'
import { until, useFolder } from '../fixtures/folder.ts'

describe('doorbell', () => {
  const at = useFolder()
  const start = () => {
    const child = fork(fixture('bell'), { stdio: 'inherit' })
    return { child, next: async () => ((await once(child, 'message')) as [unknown])[0] }
  }

  before(function () {
    // Where there is no /proc nobody can be rung, and waiters ask more often.
    if (process.platform !== 'linux') this.skip()
  })

  it('rings in another process, each time', async () => {
    const { child, next } = start()
    const bell = (await next()) as Bell
    for (let i = 1; i <= 3; i++) {
      const heard = next()
      assert.equal(ring(bell), 'rung')
      assert.equal(await heard, i)
    }
    child.disconnect()
    assert.deepEqual(await once(child, 'exit'), [0, null], 'it does not keep its process alive')
  })

  it('is gone with its process', async () => {
    const { child, next } = start()
    const bell = (await next()) as Bell
    child.kill('SIGKILL')
    await once(child, 'exit')
    assert.equal(ring(bell), 'gone')
  })

  it('of a stopped process can be rung for ever, and blocks nobody', async () => {
    const { child, next } = start()
    const bell = (await next()) as Bell
    child.kill('SIGSTOP')
    for (let i = 0; i < 70_000; i++) assert.equal(ring(bell), 'rung')
    child.kill('SIGKILL')
    await once(child, 'exit')
  })

  it('writes nothing to a descriptor that means something else', () => {
    writeFileSync(at('precious'), 'untouched')
    const fd = openSync(at('precious'), 'r+')
    const { ino } = fstatSync(fd)
    assert.equal(ring({ pid: process.pid, fd, ino }), 'gone')
    closeSync(fd)
    assert.equal(readFileSync(at('precious'), 'utf8'), 'untouched')
    const own = ownBell(true)
    assert.ok(own)
    assert.equal(ring({ ...own, ino: own.ino + 1 }), 'gone')
  })

  it('is heard by those who listen, until they stop', async () => {
    const own = ownBell(true)
    assert.ok(own)
    assert.equal(ownBell(false), own, 'there is one for each thread')
    let heard = 0
    const listener = () => void heard++
    listen(listener)
    ring(own)
    await until('it is heard', () => heard === 1)
    stopListening(listener)
    ring(own)
    await sleep(30)
    assert.equal(heard, 1)
  })
})
