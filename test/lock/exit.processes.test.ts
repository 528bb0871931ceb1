import assert from 'node:assert/strict'
import { PsLock } from '../../src/lock/lock.ts'
import { fixture } from '../fixtures/code.ts'
import { exitOf } from '../fixtures/exit.ts'
import { useFolder } from '../fixtures/folder.ts'

const SCRIPT = fixture('exit-script')

/** Law 9: nothing that waits, holds or idles keeps a process that wants to end. */
describe('clean exit', () => {
  const at = useFolder()

  const run = (state: string, end: string, kill?: NodeJS.Signals) =>
    exitOf(SCRIPT, [state, end, at('data')], kill)

  const PROMPT_MS = 3000
  const states = ['idle', 'held', 'inside', 'waiting', 'waiting-50'] as const

  for (const state of states) {
    for (const [end, code] of [
      ['exit', 7],
      ['throw', 1],
      ['reject', 1],
    ] as const) {
      it(`${end} with locks ${state} ends the process at once`, async () => {
        const held = state.startsWith('waiting') ? await new PsLock(at('data')).acquire() : undefined
        const ended = await run(state, end)
        assert.deepEqual([ended.code, ended.signal, ended.output], [code, null, ''])
        assert.ok(ended.tookMs < PROMPT_MS, `it took ${ended.tookMs} ms`)
        held?.release()
        new PsLock(at('data')).tryAcquire()!.release()
      })
    }
  }

  for (const state of ['inside', 'waiting', 'waiting-50'] as const) {
    for (const signal of ['SIGINT', 'SIGTERM'] as const) {
      it(`${signal} with locks ${state} ends the process at once`, async () => {
        const held = state.startsWith('waiting') ? await new PsLock(at('data')).acquire() : undefined
        const ended = await run(state, 'signal', signal)
        assert.deepEqual([ended.code, ended.signal, ended.output], [null, signal, ''])
        assert.ok(ended.tookMs < PROMPT_MS, `it took ${ended.tookMs} ms`)
        held?.release()
        new PsLock(at('data')).tryAcquire()!.release()
      })
    }
  }

  for (const state of ['idle', 'held'] as const) {
    it(`a program with nothing left to do ends though its lock is ${state}`, async () => {
      const ended = await run(state, 'natural')
      assert.deepEqual([ended.code, ended.signal], [0, null])
      assert.ok(ended.tookMs < PROMPT_MS, `it took ${ended.tookMs} ms`)
      new PsLock(at('data')).tryAcquire()!.release()
    })
  }

  it('a pending wait keeps the program alive until it is granted, for that is work to do', async () => {
    const held = await new PsLock(at('data')).acquire()
    setTimeout(() => held.release(), 1200)
    const ended = await run('waiting', 'natural')
    assert.deepEqual([ended.code, ended.signal, ended.output.trim()], [0, null, 'granted'])
    new PsLock(at('data')).tryAcquire()!.release()
  })
})
