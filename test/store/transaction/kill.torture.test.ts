import assert from 'node:assert/strict'
import { copyFileSync, existsSync, readFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { figures } from '../../fixtures/figures.ts'
import { useFolder } from '../../fixtures/folder.ts'
import { seenByVanilla, warnings } from '../../fixtures/nedb-tools.ts'
import { newSeed, note, random } from '../../fixtures/random.ts'
import { openStore, type StoreKind } from '../../fixtures/stores.ts'
import type { TransactionCommands } from '../../fixtures/transaction-worker.ts'
import { usePeer } from '../../harness/peer.ts'

const LONG = process.env.PSLOCK_LONG === '1'
/** For each store; PSLOCK_LONG=1 has the time for all of them, the normal run does what it can in 5 s. */
const KILLS = 200
const LEAST = 6
const MOST_MS = LONG ? 10 * 60_000 : 5_000

/** What every batch of the worker has: names of the form batch:number:size. */
function halfBatches(names: readonly string[]): string[] {
  const sizes = new Map<string, { size: number; there: number }>()
  for (const name of names) {
    const [batch = '', , size] = name.split(':')
    const known = sizes.get(batch) ?? { size: Number(size), there: 0 }
    known.there++
    sizes.set(batch, known)
  }
  return [...sizes].flatMap(([batch, { size, there }]) =>
    there === size ? [] : [`${there} of ${size} in batch ${batch}`],
  )
}

function lastBatch(names: readonly string[]): number {
  return names.reduce((last, name) => Math.max(last, Number(name.split(':')[0])), -1)
}

describe('kill -9 inside transactions of 1 to 500 records', () => {
  const at = useFolder()
  const peer = usePeer<TransactionCommands>('transaction-worker')
  warnings()

  /** As the unmodified library sees it, in a copy; undefined where it refuses the file. */
  const vanilla: Record<'nedb' | 'lowdb', (path: string) => Promise<string[] | undefined>> = {
    nedb: (path) =>
      seenByVanilla(path, { corruptAlertThreshold: 0.1 }).then(
        (docs) => docs.map(({ _id }) => _id),
        () => undefined,
      ),
    lowdb: async (path) => Object.keys(JSON.parse(readFileSync(path, 'utf8')).numbers),
  }

  for (const kind of ['nedb', 'lowdb'] as const satisfies StoreKind[]) {
    it(`leaves all or none on ${kind}, and the vanilla library never loads a part`, async function () {
      this.timeout(MOST_MS + 60_000)
      const seed = newSeed()
      const next = random(seed)
      const end = performance.now() + MOST_MS
      const seen = { kills: 0, unfinished: 0, refused: 0, records: 0 }
      let waiting = peer([kind, at('0.db')])
      while (seen.kills < KILLS && (performance.now() < end || seen.kills < LEAST)) {
        const path = at(`${seen.kills}.db`)
        const writer = await waiting
        waiting = peer([kind, at(`${seen.kills + 1}.db`)])
        void writer.call('batches', seed + seen.kills)
        await sleep(next() * 120)
        await writer.kill()
        // Of the last batch that was acknowledged.
        const acknowledged = (writer.lastEvent as number | undefined) ?? -1
        const shown = `seed ${seed}, kill ${seen.kills}`
        seen.kills++
        if (!existsSync(path)) continue
        copyFileSync(path, at('copy.db'))
        const before = await vanilla[kind](at('copy.db'))
        if (before === undefined) seen.refused++
        assert.deepEqual(halfBatches(before ?? []), [], `${shown}: vanilla loads a part`)
        const db = await openStore(kind, path)
        await db.insert('next:0:1', 1)
        const names = (await db.names()).filter((name) => !name.startsWith('next'))
        await db.close()
        assert.deepEqual(halfBatches(names), [], `${shown}: pslock loads a part`)
        const last = lastBatch(names)
        assert.ok(
          last === acknowledged || last === acknowledged + 1,
          `${shown}: ${acknowledged}, then ${last}`,
        )
        const after = (await vanilla[kind](path))?.filter((name) => !name.startsWith('next'))
        assert.deepEqual(after?.sort(), names, `${shown}: vanilla does not see the mended file`)
        seen.records += names.length
        if (acknowledged < last) seen.unfinished++
      }
      await (await waiting).kill()
      note(`seed ${seed}: ${JSON.stringify(seen)}`)
      figures(`kills in transactions, ${kind}`, { seed, ...seen })
      assert.ok(seen.kills >= (LONG ? KILLS : LEAST) && seen.records > 100, 'too few to prove anything')
    })
  }
})
