import assert from 'node:assert/strict'
import { chmodSync, chownSync, mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { PsLock } from '../../src/lock/lock.ts'
import { useCrew } from '../fixtures/crew.ts'
import { useFolder } from '../fixtures/folder.ts'
import { mustBlock, waitsHere, waitsThere } from '../fixtures/must-block.ts'
import { needsStranger, stranger } from '../fixtures/stranger.ts'

/** Users who may write different things share one lock as long as each may read the lock file. */
describe('a lock between users', () => {
  needsStranger()
  const crew = useCrew()
  // Before the folder's own hook, which could not remove what it may not enter.
  afterEach(() => chmodSync(at('dir'), 0o755))
  const at = useFolder()

  beforeEach(() => {
    chmodSync(at(), 0o755)
    mkdirSync(at('dir'))
  })

  it('the lock file of another user in a sticky folder such as /tmp', async function () {
    if (process.getuid?.() !== 0) return this.skip()
    // fs.protected_regular refuses O_CREAT on somebody else's file in such a folder, to root as well.
    chmodSync(at('dir'), 0o1777)
    const mate = await crew.process(stranger)
    await mate.call('acquire', at('dir/data'))
    assert.equal(statSync(at('dir/data.lock')).uid, stranger.uid)
    const lock = new PsLock(at('dir/data'))
    const blocked = await mustBlock('root', lock.acquire(), { seen: waitsHere(lock) })
    const held = await blocked.unblock(() => mate.call('release'))
    const wait = mate.call('acquire', at('dir/data'))
    const there = await mustBlock('the other user', wait, { seen: waitsThere(mate, at('dir/data')) })
    await there.unblock(() => held.release())
  })

  it('a lock file that may only be read, in a folder that may not be written: several waiters in turn', async () => {
    writeFileSync(at('dir/data.lock'), '')
    chmodSync(at('dir/data.lock'), 0o444)
    chmodSync(at('dir'), 0o555)
    const mates = await crew.processes(3, stranger)
    const held = await new PsLock(at('dir/data')).acquire()
    const file = at('counter')
    writeFileSync(file, '{"count":0}')
    chmodSync(file, 0o666)
    const work = mates.map((mate, i) =>
      mate.call('increment', at('dir/data'), file, { times: 40, seed: i + 1 }),
    )
    for (const [i, mate] of mates.entries()) {
      await mustBlock(`mate ${i}`, work[i]!, { seen: waitsThere(mate, at('dir/data')) })
    }
    held.release()
    await Promise.all(work)
    assert.equal(JSON.parse(readFileSync(file, 'utf8')).count, 120)
  })

  it('the holder of another user is named by its pid', async () => {
    chmodSync(at('dir'), 0o777)
    const mate = await crew.process(stranger)
    await mate.call('acquire', at('dir/data'))
    const [holder] = new PsLock(at('dir/data')).holders()
    assert.deepEqual([holder?.pid, holder?.mode, holder?.state], [mate.pid, 'exclusive', 'holding'])
    await mate.call('release')
  })

  it('and to a user who may not look into other processes a holder is a holder all the same', async () => {
    chmodSync(at('dir'), 0o777)
    const mate = await crew.process(stranger)
    await mate.call('tryAcquire', at('dir/data'))
    await mate.call('release')
    const held = await new PsLock(at('dir/data')).acquire()
    await assert.rejects(mate.call('acquire', at('dir/data'), { timeoutMs: 60 }), (error) => {
      const { code, holders } = error as Error & { code: string; holders: { state: string; pid?: number }[] }
      const holding = holders.filter(({ state }) => state === 'holding')
      return (
        code === 'PSLOCK_TIMEOUT' &&
        holding.length === 1 &&
        [process.pid, undefined].includes(holding[0]?.pid)
      )
    })
    held.release()
  })

  it('the right to enter the folder, taken away while it is free: refused, typed, and nothing stays locked', async () => {
    chmodSync(at('dir'), 0o777)
    const mate = await crew.process(stranger)
    await mate.call('acquire', at('dir/data'))
    await mate.call('release')
    chmodSync(at('dir'), 0o000)
    for (const command of ['acquire', 'tryAcquire', 'acquireSync'] as const) {
      await assert.rejects(mate.call(command, at('dir/data')), {
        code: 'PSLOCK_IO',
        path: at('dir/data.lock'),
      })
    }
    chmodSync(at('dir'), 0o777)
    const held = new PsLock(at('dir/data')).tryAcquire()
    assert.ok(held, 'the refused mate holds nothing')
    held.release()
    assert.equal(await mate.call('tryAcquire', at('dir/data')), true, 'and may go on')
  })

  it('the right to enter the folder, taken away while several wait: each is told, and none crashes', async () => {
    chmodSync(at('dir'), 0o777)
    const mates = await crew.processes(3, stranger)
    const held = await new PsLock(at('dir/data')).acquire()
    // Whoever stands further behind looks seldom: its time is over before it has found out.
    const patience = [20_000, 20_000, 700]
    const waits: Promise<unknown>[] = []
    for (const [i, mate] of mates.entries()) {
      const wait = mate.call('acquire', at('dir/data'), { timeoutMs: patience[i]! })
      await mustBlock(`mate ${i}`, wait, { seen: waitsThere(mate, at('dir/data')) })
      waits.push(wait.catch(({ code, message }) => code ?? message))
    }
    chmodSync(at('dir'), 0o000)
    for (const outcome of await Promise.all(waits)) {
      assert.ok(['PSLOCK_IO', 'PSLOCK_TIMEOUT'].includes(String(outcome)), `it ended with ${outcome}`)
    }
    held.release()
  })

  it('the right to enter the folder, taken away while it is held: the release works', async () => {
    chmodSync(at('dir'), 0o777)
    const mate = await crew.process(stranger)
    await mate.call('acquire', at('dir/data'))
    chmodSync(at('dir'), 0o000)
    await mate.call('release')
    if (process.getuid?.() === 0) new PsLock(at('dir/data')).tryAcquire()!.release()
  })

  it('a lock file given away, or closed to all, while it is held and waited for: who has it open goes on', async () => {
    const mate = await crew.process()
    const lock = new PsLock(at('dir/data'))
    await lock.exclusive(() => {})
    await mate.call('acquire', at('dir/data'))
    const blocked = await mustBlock('we', lock.acquire(), { seen: waitsHere(lock) })
    chmodSync(at('dir/data.lock'), 0o000)
    if (process.getuid?.() === 0) chownSync(at('dir/data.lock'), 65534, 65534)
    blocked.stillBlocked()
    const held = await blocked.unblock(() => mate.call('release'))
    assert.equal(await mate.call('tryAcquire', at('dir/data')), false)
    held.release()
  })
})
