import assert from 'node:assert/strict'
import { fork } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, fstatSync, openSync, readFileSync, writeFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { listen, ownWaker, stopListening, type Waker, wake } from '../../src/os/wakeup.ts'
import { fixture } from '../fixtures/code.ts'
import { until, useFolder } from '../fixtures/folder.ts'
import { openPipe } from '../fixtures/pipe.ts'

describe('waking another process', () => {
  const at = useFolder()
  const start = () => {
    const child = fork(fixture('waker'), { stdio: 'inherit' })
    return { child, next: async () => ((await once(child, 'message')) as [unknown])[0] }
  }

  before(function () {
    // Where there is no /proc nobody can be rung, and waiters ask more often.
    if (process.platform !== 'linux') this.skip()
  })

  it('wakes another process, each time', async () => {
    const { child, next } = start()
    const waker = (await next()) as Waker
    for (let i = 1; i <= 3; i++) {
      const heard = next()
      assert.equal(wake(waker), 'woken')
      assert.equal(await heard, i)
    }
    child.disconnect()
    assert.deepEqual(await once(child, 'exit'), [0, null], 'it does not keep its process alive')
  })

  it('is gone with its process', async () => {
    const { child, next } = start()
    const waker = (await next()) as Waker
    child.kill('SIGKILL')
    await once(child, 'exit')
    assert.equal(wake(waker), 'gone')
  })

  it('of a stopped process can be rung for ever, and blocks nobody', async () => {
    const { child, next } = start()
    const waker = (await next()) as Waker
    child.kill('SIGSTOP')
    for (let i = 0; i < 70_000; i++) assert.equal(wake(waker), 'woken')
    child.kill('SIGKILL')
    await once(child, 'exit')
  })

  it('writes nothing to a descriptor that means something else', () => {
    writeFileSync(at('precious'), 'untouched')
    const fd = openSync(at('precious'), 'r+')
    const { ino } = fstatSync(fd)
    const own = ownWaker(true)
    assert.ok(own)
    assert.equal(wake({ ...own, fd, ino }), 'gone')
    closeSync(fd)
    assert.equal(readFileSync(at('precious'), 'utf8'), 'untouched')
    assert.equal(wake({ ...own, ino: own.ino + 1 }), 'gone')
  })

  it('writes nothing into a pipe that is no waker, whatever is said to mark it', async () => {
    const { child, next } = start()
    const waker = (await next()) as Waker
    const own = ownWaker(true)
    assert.ok(own)
    const pipe = await openPipe()
    const others = [0, 1, 2, 3, 20, own.mark, waker.mark, 2 ** 32 - 1].map((mark) => ({ ...pipe.end, mark }))
    const answers = [...others, { ...waker, mark: waker.mark + 1 }].map(wake)
    const written = await pipe.close()
    child.kill('SIGKILL')
    assert.deepEqual(new Set(answers), new Set(['gone']))
    assert.equal(written, '')
  })

  it('is heard by those who listen, until they stop', async () => {
    const own = ownWaker(true)
    assert.ok(own)
    assert.equal(ownWaker(false), own, 'there is one for each thread')
    let heard = 0
    const listener = () => void heard++
    listen(listener)
    wake(own)
    await until('it is heard', () => heard === 1)
    stopListening(listener)
    wake(own)
    await sleep(30)
    assert.equal(heard, 1)
  })
})
