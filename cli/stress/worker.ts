import { setTimeout as pause } from 'node:timers/promises'
import { noteHolds } from './chaos/lock-log.ts'
import { beginBlocking, beginJumping, slowness } from './chaos/troubled.ts'
import { Ledger, now, readLedger } from './ledger.ts'
import { ABSENT, type Answer, isChore, type Operation } from './operation.ts'
import { type StressOptions, URL_VARIABLE } from './options.ts'
import { operationsOf, thinkTimes } from './plan.ts'
import { openSubject } from './stores/open.ts'
import type { Subject } from './stores/subject.ts'

/** What a worker process is started with, as JSON in its only argument. */
export interface WorkerOptions extends StressOptions {
  readonly worker: number
  readonly path: string
  readonly ledger: string
  /** Where it notes when it had the lock. */
  readonly holds: string
}

/** What is done to the file as a whole, besides the plan. */
export type Chore = 'compact' | 'compactByNeed' | 'dump' | 'copy'

/** From the parent: open the store; begin (times in nanoseconds of the common clock); do this in between. */
export type Order =
  | { readonly order: 'open' }
  | { readonly order: 'go'; readonly begin: number; readonly end?: number | undefined }
  | { readonly order: 'chore'; readonly chore: Chore }

/** To the parent. */
export type Report =
  | { readonly state: 'started' | 'ready' | 'leaving' }
  | { readonly state: 'failed'; readonly message: string }

/** With `--seconds` registers and keys are new ones every so often, so that no history becomes too long to be checked. */
const ERA_NS = 10e9

async function main(options: WorkerOptions): Promise<void> {
  // Ctrl-C goes to the whole group; the parent ends its workers, and a worker without a parent ends itself.
  process.on('SIGINT', () => {})
  process.once('disconnect', orphaned)
  const orders = new Orders()
  report({ state: 'started' })
  await orders.first('open')
  beginJumping(options)
  noteHolds(options.holds)
  const subject = await openSubject(options.store, options)
  report({ state: 'ready' })
  const go = await orders.first('go')
  beginBlocking(options)
  await work(subject, options, go, orders)
  await subject.close()
  report({ state: 'leaving' })
}

type Go = Extract<Order, { order: 'go' }>

async function work(
  subject: Subject,
  options: WorkerOptions,
  { begin, end = Number.POSITIVE_INFINITY }: Go,
  orders: Orders,
): Promise<void> {
  const { worker, ledger: path, thinkMs, seconds } = options
  // Who was killed goes on behind what the kill has cut short.
  const before = readLedger(path)
  let index = before.length
  let planned = before.filter(({ operation }) => !isChore(operation)).length
  const ledger = new Ledger(path)
  const think = thinkTimes(worker, options.seed, thinkMs)
  const slow = slowness(options)
  const seen = new Map<string, number>()
  const perform = async (operation: Operation) => {
    const forMs = slow(operation)
    ledger.intend(index, operation)
    const answer = await answerOf(() => {
      if (forMs === 0) return subject.perform(operation)
      return subject.slowly(() => pause(forMs).then(() => subject.perform(operation)))
    })
    ledger.answered(index++, answer)
    remember(seen, operation, answer)
  }
  for (const operation of operationsOf(worker, options)) {
    if (planned-- > 0) continue
    if (now() >= end) break
    if (thinkMs > 0) await pause(think())
    for (let chore = orders.chore(); chore; chore = orders.chore()) {
      const to = `${path}.${chore}-${index}`
      await perform(chore === 'dump' || chore === 'copy' ? { kind: chore, to } : { kind: chore })
    }
    const era = seconds === undefined ? '' : `-${Math.floor((now() - begin) / ERA_NS)}`
    await perform(concrete(operation, era, seen))
  }
  ledger.close()
}

/** The operation with the names of this time, and with what it is to compare with. */
function concrete(operation: Operation, era: string, seen: ReadonlyMap<string, number>): Operation {
  switch (operation.kind) {
    case 'readRegister':
    case 'writeRegister':
      return { ...operation, register: operation.register + era }
    case 'compareAndSet': {
      const register = operation.register + era
      return { ...operation, register, from: seen.get(register) ?? ABSENT }
    }
    case 'insertKey':
    case 'deleteKey':
    case 'readKey':
      return { ...operation, key: operation.key + era }
    default:
      return operation
  }
}

/** What a worker knows of the registers. After a refused compareAndSet that is nothing: it looks before the next one. */
function remember(seen: Map<string, number>, operation: Operation, answer: Answer): void {
  if (answer.said !== 'done') return
  if (operation.kind === 'readRegister') seen.set(operation.register, answer.value ?? ABSENT)
  else if (operation.kind === 'writeRegister') seen.set(operation.register, operation.value)
  else if (operation.kind === 'compareAndSet' && answer.value === 1)
    seen.set(operation.register, operation.to)
}

async function answerOf(perform: () => Promise<Answer>): Promise<Answer> {
  try {
    return await perform()
  } catch (error) {
    const { code } = error as { code?: unknown }
    const message = error instanceof Error ? error.message : String(error)
    return { said: 'error', message: typeof code === 'string' ? `${code}: ${message}` : message }
  }
}

/** What the parent has said so far. */
class Orders {
  readonly #arrived: Order[] = []
  #wake = (): void => {}

  constructor() {
    process.on('message', (order: Order) => {
      this.#arrived.push(order)
      this.#wake()
    })
  }

  async first<Name extends Order['order']>(name: Name): Promise<Extract<Order, { order: Name }>> {
    for (;;) {
      const found = this.#arrived.find(({ order }) => order === name)
      if (found) return found as Extract<Order, { order: Name }>
      await new Promise<void>((resolve) => {
        this.#wake = resolve
      })
    }
  }

  /** The next chore that was ordered and not yet asked for here. */
  chore(): Chore | undefined {
    const at = this.#arrived.findIndex(({ order }) => order === 'chore')
    if (at < 0) return undefined
    const [found] = this.#arrived.splice(at, 1) as [Extract<Order, { order: 'chore' }>]
    return found.chore
  }
}

/** JSON has no `Infinity`. */
function given(): WorkerOptions {
  const options = JSON.parse(process.argv[2] ?? '{}') as WorkerOptions
  const { [URL_VARIABLE]: url } = process.env
  return { ...options, url, ops: options.ops ?? Number.POSITIVE_INFINITY }
}

function orphaned(): void {
  process.exit(1)
}

function report(state: Report): void {
  process.send?.(state)
}

main(given()).then(
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
