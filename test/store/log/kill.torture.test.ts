import assert from 'node:assert/strict'
import { statSync, writeFileSync } from 'node:fs'
import { setTimeout } from 'node:timers/promises'
import { LockedNedb } from '../../../adapters/nedb.ts'
import type { BatchCommands } from '../../fixtures/nedb-batch.ts'
import { seeded, seedOfRun, seenByVanilla, temporaryFolder, warnings } from '../../fixtures/nedb-tools.ts'
import { type PeerProcess, usePeer } from '../../harness/peer.ts'

const OLD = 40
const KILLS = process.env.PSLOCK_LONG === '1' ? 40 : 15
const BATCH = 3000
/** Bytes a document: enough for the write to last until the kill. */
const PAD = 800

describe('SIGKILL in the middle of insertMany(3000)', () => {
  const file = temporaryFolder()
  const peer = usePeer<BatchCommands>('nedb-batch')
  warnings()

  async function prepare(kind: string, filename: string, pad: number): Promise<PeerProcess<BatchCommands>> {
    const old = Array.from({ length: OLD }, (_, n) => `{"_id":"old${n}"}\n`).join('')
    writeFileSync(filename, old)
    return peer([kind, filename, String(pad)])
  }

  /** Kills when the file has grown, or `afterMs` later. @returns whether the batch was acknowledged before */
  async function killed(
    child: PeerProcess<BatchCommands>,
    filename: string,
    afterMs: number,
  ): Promise<boolean> {
    let acknowledged = false
    const size = statSync(filename).size
    child.call('insert').then(
      () => {
        acknowledged = true
      },
      () => {},
    )
    if (afterMs > 0) await setTimeout(afterMs)
    else {
      const end = performance.now() + 5000
      while (statSync(filename).size === size && performance.now() < end);
    }
    await child.kill()
    return acknowledged
  }

  it('control: vanilla loads a part of the batch', async () => {
    const seen: number[] = []
    for (let round = 0; round < 6; round++) {
      const filename = file(`${round}.db`)
      const child = await prepare('vanilla', filename, 900)
      await killed(child, filename, 0)
      seen.push((await seenByVanilla(filename, { corruptAlertThreshold: 0.1 })).length - OLD)
    }
    console.log(`      loaded of ${BATCH}: ${seen.join(', ')}`)
    assert.ok(seen.some((count) => count > 0 && count < BATCH))
  })

  it(`leaves all of it or nothing, ${KILLS} times or more; vanilla never loads half, and pslock mends the file`, async () => {
    const seed = seedOfRun()
    const random = seeded(seed)
    const outcomes = { all: 0, none: 0, acknowledged: 0, 'refused by vanilla': 0 }
    let next = prepare('locked', file('0.db'), PAD)
    // Not every kill hits the write itself.
    for (let round = 0; round < KILLS || (outcomes['refused by vanilla'] === 0 && round < 100); round++) {
      const filename = file(`${round}.db`)
      const child = await next
      next = prepare('locked', file(`${round + 1}.db`), PAD)
      const acknowledged = await killed(child, filename, round % 3 === 2 ? 1 + 60 * random() : 0)
      const before = await seenByVanilla(filename, { corruptAlertThreshold: 0.1 }).then(
        (docs) => docs.length - OLD,
        () => undefined,
      )
      if (before === undefined) outcomes['refused by vanilla']++
      else assert.ok(before === 0 || before === BATCH, `vanilla loaded ${before} of ${BATCH}`)
      const db = new LockedNedb({ filename, autoload: true })
      const count = (await db.countAsync({})) - OLD
      await db.close()
      assert.ok(count === 0 || count === BATCH, `pslock loaded ${count} of ${BATCH}`)
      if (acknowledged) assert.equal(count, BATCH, 'an acknowledged batch is gone')
      assert.equal(
        (await seenByVanilla(filename)).length - OLD,
        count,
        'vanilla does not see the mended file',
      )
      outcomes[count === 0 ? 'none' : 'all']++
      if (acknowledged) outcomes.acknowledged++
    }
    await (await next).kill()
    console.log(`      seed ${seed}: ${JSON.stringify(outcomes)}`)
    assert.ok(outcomes['refused by vanilla'] > 0, 'no kill hit a write: nothing was proved')
  })
})
