import { setTimeout as pause } from 'node:timers/promises'
import { Ledger } from './ledger.ts'
import type { Answer, Operation } from './operation.ts'
import type { StressOptions } from './options.ts'
import { planOf, thinkTimes } from './plan.ts'
import { openSubject } from './stores/open.ts'
import type { Subject } from './stores/subject.ts'

/** What a worker process is started with, as JSON in its only argument. */
export interface WorkerOptions extends StressOptions {
  readonly worker: number
  readonly path: string
  readonly ledger: string
}

/** From the parent: open the store; begin. */
export type Order = 'open' | 'go'

/** To the parent. */
export type Report =
  | { readonly state: 'started' | 'ready' | 'leaving' }
  | { readonly state: 'failed'; readonly message: string }

async function main(options: WorkerOptions): Promise<void> {
  // Ctrl-C goes to the whole group; the parent ends its workers, and a worker without a parent ends itself.
  process.on('SIGINT', () => {})
  process.once('disconnect', orphaned)
  const order = orders()
  report({ state: 'started' })
  await order('open')
  const subject = await openSubject(options.store, options)
  report({ state: 'ready' })
  await order('go')
  await work(subject, options)
  await subject.close()
  report({ state: 'leaving' })
}

async function work(subject: Subject, { worker, ledger: path, ...options }: WorkerOptions): Promise<void> {
  const ledger = new Ledger(path)
  const think = thinkTimes(worker, options.seed, options.thinkMs)
  for (const [index, operation] of planOf(worker, options).entries()) {
    if (options.thinkMs > 0) await pause(think())
    ledger.intend(index, operation)
    ledger.answered(index, await answerOf(subject, operation))
  }
  ledger.close()
}

async function answerOf(subject: Subject, operation: Operation): Promise<Answer> {
  try {
    return await subject.perform(operation)
  } catch (error) {
    const { code } = error as { code?: unknown }
    const message = error instanceof Error ? error.message : String(error)
    return { said: 'error', message: typeof code === 'string' ? `${code}: ${message}` : message }
  }
}

function orders(): (expected: Order) => Promise<void> {
  const arrived = new Set<unknown>()
  let wake = () => {}
  process.on('message', (order) => {
    arrived.add(order)
    wake()
  })
  return async (expected) => {
    while (!arrived.has(expected)) {
      await new Promise<void>((resolve) => {
        wake = resolve
      })
    }
  }
}

function orphaned(): void {
  process.exit(1)
}

function report(state: Report): void {
  process.send?.(state)
}

main(JSON.parse(process.argv[2] ?? '{}') as WorkerOptions).then(
  () => {
    process.off('disconnect', orphaned)
    // From here on nothing may keep the process alive, least of all the closed store.
    process.disconnect?.()
  },
  (error: unknown) => {
    const message = error instanceof Error ? (error.stack ?? error.message) : String(error)
    process.send?.({ state: 'failed', message } satisfies Report, () => process.exit(1))
  },
)
