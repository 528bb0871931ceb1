import assert from 'node:assert/strict'
import { useFolder } from '../../fixtures/folder.ts'
import { newSeed, note } from '../../fixtures/random.ts'
import { KINDS, openStore } from '../../fixtures/stores.ts'
import type { TransactionCommands } from '../../fixtures/transaction-worker.ts'
import { usePeer } from '../../harness/peer.ts'

const CROWD = process.env.PSLOCK_LONG === '1' ? 50 : 12

/** Read-modify-write by many processes: exact totals. */
describe('transactions of many processes', () => {
  const at = useFolder()
  const peer = usePeer<TransactionCommands>('transaction-worker')

  // That one has its own, in journal-crowd.processes.test.ts.
  const kinds = KINDS.filter((kind) => CROWD > 12 || kind !== 'lowdb with a journal')
  for (const kind of kinds) {
    it(`${CROWD} processes count up on ${kind} and lose nothing`, async function () {
      this.timeout(CROWD * 10_000)
      const seed = newSeed()
      const db = await openStore(kind, at('numbers.db'))
      await db.insert('n', 0)
      await db.insert('twice', 0)
      const peers = await Promise.all(Array.from({ length: CROWD }, () => peer([kind, at('numbers.db')])))
      const times = 15
      await Promise.all(peers.map((each, i) => each.call('countUp', times, seed + i)))
      assert.deepEqual([await db.get('n'), await db.get('twice')], [CROWD * times, 2 * CROWD * times])
      note(`seed ${seed}`)
    })
  }

  for (const kind of ['nedb', 'lowdb'] as const) {
    it(`4 processes count up on ${kind} without holding the lock, by retrying, and lose nothing`, async () => {
      const seed = newSeed()
      const db = await openStore(kind, at('numbers.db'))
      await db.insert('n', 0)
      await db.insert('twice', 0)
      const peers = await Promise.all(Array.from({ length: 4 }, () => peer([kind, at('numbers.db')])))
      await Promise.all(peers.map((each, i) => each.call('countUp', 10, seed + i, 10_000)))
      assert.deepEqual([await db.get('n'), await db.get('twice')], [40, 80])
      note(`seed ${seed}`)
    })
  }
})
