import { check } from '../../cli/stress/checks/check.ts'
import { readContent } from '../../cli/stress/contents/read.ts'
import type { Findings } from '../../cli/stress/findings.ts'
import type { History } from '../../cli/stress/history.ts'
import { type Entry, Ledger, readLedger } from '../../cli/stress/ledger.ts'
import type { Operation } from '../../cli/stress/operation.ts'
import type { StoreName } from '../../cli/stress/options.ts'
import { planOf } from '../../cli/stress/plan.ts'
import { openSubject } from '../../cli/stress/stores/open.ts'

/** A true run of two workers in turns, in this process: what they were told, and the file they left. */
export class RecordedRun {
  readonly store: StoreName
  readonly path: string
  readonly histories: History[]

  private constructor(store: StoreName, path: string, histories: History[]) {
    this.store = store
    this.path = path
    this.histories = histories
  }

  static async make(store: StoreName, path: string, plans = [0, 1].map((worker) => plan(worker, store))) {
    const workers = await Promise.all(
      plans.map(async (operations, worker) => ({
        subject: await openSubject(store, {
          path,
          worker,
          unlocked: false,
          sliceMs: undefined,
          durability: 'process',
          chaos: { compactionsPerSecond: 0 },
        }),
        ledger: new Ledger(`${path}.ledger-${worker}`),
        operations,
      })),
    )
    for (let index = 0; index < Math.max(...plans.map(({ length }) => length)); index++) {
      for (const { subject, ledger, operations } of workers) {
        const operation = operations[index]
        if (!operation) continue
        ledger.intend(index, operation)
        ledger.answered(index, await subject.perform(operation))
      }
    }
    for (const { subject, ledger } of workers) {
      await subject.close()
      ledger.close()
    }
    const histories = plans.map((_, worker): History => {
      return { worker, entries: readLedger(`${path}.ledger-${worker}`), ended: 'finished' }
    })
    return new RecordedRun(store, path, histories)
  }

  /** The checker's opinion of the file as it is now. */
  async check(): Promise<Findings> {
    return check(this.histories, await readContent(this.store, this.path))
  }

  /** The last operation of a worker becomes one that a kill cut short. */
  killed(worker: number): void {
    const { entries } = this.histories[worker]!
    const { index, operation, start } = entries.at(-1)!
    this.histories[worker] = {
      worker,
      entries: [...entries.slice(0, -1), { index, operation, start }],
      ended: 'killed',
    }
  }

  /** Another account of one entry. */
  retold(worker: number, of: (entry: Entry) => boolean, changed: Partial<Entry>): void {
    const { entries } = this.histories[worker]!
    const at = entries.findIndex(of)
    if (at < 0) throw new Error('no such entry')
    this.histories[worker] = {
      worker,
      entries: entries.map((entry, index) => (index === at ? { ...entry, ...changed } : entry)),
      ended: 'finished',
    }
  }
}

function plan(worker: number, store: StoreName): Operation[] {
  return planOf(worker, { seed: 1, store, ops: 60 })
}
