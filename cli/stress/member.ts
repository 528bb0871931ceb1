import { type ChildProcess, fork } from 'node:child_process'
import { closeSync, openSync, readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { holdsPath } from './chaos/lock-log.ts'
import type { History } from './history.ts'
import { readLedger } from './ledger.ts'
import { LedgerTail } from './ledger-tail.ts'
import { type StressOptions, URL_VARIABLE } from './options.ts'
import type { Order, Report, WorkerOptions } from './worker.ts'

type State =
  | 'starting'
  | 'started'
  | 'opening'
  | 'ready'
  | 'working'
  | 'leaving'
  | 'finished'
  /** Killed, and about to be started again. */
  | 'restarting'
  | 'killed'
  | 'failed'

/** One worker as its parent sees it: a process, and after a kill perhaps another one that goes on with its work. */
export class Member {
  readonly worker: number
  readonly #started: WorkerOptions
  readonly #url: string | undefined
  readonly #tail: LedgerTail
  readonly #stderr: string
  readonly #changed: () => void
  readonly ended: Promise<void>
  #end: () => void = () => {}
  #child: ChildProcess
  /** What a worker that was started again is told as soon as it can be. */
  #go: Order | undefined
  #restarts = 0
  state: State = 'starting'
  reason: string | undefined

  constructor(worker: number, path: string, options: StressOptions, changed: () => void) {
    this.worker = worker
    this.#changed = changed
    this.#stderr = `${path}.stderr-${worker}`
    const { url, ...others } = options
    this.#url = url
    this.#started = {
      ...others,
      worker,
      path,
      ledger: `${path}.ledger-${worker}`,
      holds: holdsPath(path, worker),
    }
    closeSync(openSync(this.#started.ledger, 'w'))
    this.#tail = new LedgerTail(this.#started.ledger)
    this.ended = new Promise((resolve) => {
      this.#end = resolve
    })
    this.#child = this.#launch()
  }

  #launch(): ChildProcess {
    const stderr = openSync(this.#stderr, 'a')
    const child = fork(WORKER, [JSON.stringify(this.#started)], {
      stdio: ['ignore', 'ignore', stderr, 'ipc'],
      ...(this.#url === undefined ? {} : { env: { ...process.env, [URL_VARIABLE]: this.#url } }),
      // The compiled worker needs nothing of ours; a TypeScript one needs the loader we run under.
      execArgv: WORKER.endsWith('.ts') ? process.execArgv : [],
    })
    closeSync(stderr)
    child.on('message', (report: Report) => this.#reported(report))
    child.on('error', (error) => {
      this.#fail(`could not be started: ${error.message}`)
      if (child.pid === undefined) this.#end()
    })
    child.on('exit', (code, signal) => {
      // Its last message may still be under way.
      if (child.connected) child.once('disconnect', () => this.#gone(code, signal))
      else this.#gone(code, signal)
    })
    return child
  }

  get pid(): number | undefined {
    return this.#child.pid
  }

  get isLive(): boolean {
    return this.state !== 'finished' && this.state !== 'killed' && this.state !== 'failed'
  }

  /** Operations it has finished so far. */
  get done(): number {
    return this.#tail.answers()
  }

  order(order: Order): void {
    if (order.order === 'go') this.#go = order
    if (order.order !== 'chore') this.#become(order.order === 'open' ? 'opening' : 'working')
    this.#child.send(order, (error) => {
      // Nobody is surprised that a killed one cannot be reached, and who has just finished needs no chore.
      if (error && this.isLive && this.state !== 'restarting' && order.order !== 'chore') {
        this.#fail(`could not be reached: ${error.message}`)
      }
    })
  }

  /** kill -9. */
  kill(): void {
    this.#child.kill('SIGKILL')
    if (this.isLive) this.#become('killed')
  }

  /** kill -9, and another one goes on in its place. */
  killAndRestart(): void {
    this.#become('restarting')
    this.#child.kill('SIGKILL')
  }

  /** Ends a worker that makes no progress. */
  giveUp(reason: string): void {
    this.#fail(reason)
    this.#child.kill('SIGKILL')
  }

  history(): History {
    this.#tail.close()
    const ended = this.state === 'killed' || this.state === 'finished' ? this.state : 'failed'
    const entries = readLedger(this.#started.ledger)
    return { worker: this.worker, entries, ended, reason: this.reason, restarts: this.#restarts }
  }

  #gone(code: number | null, signal: NodeJS.Signals | null): void {
    if (this.state === 'restarting') {
      this.#restarts++
      this.#become('starting')
      this.#child = this.#launch()
      return
    }
    if (this.state === 'leaving' && code === 0) this.#become('finished')
    else this.#fail(`ended by itself (${signal ?? `exit code ${code}`})${this.#lastWords()}`)
    this.#end()
  }

  #reported(report: Report): void {
    if (!this.isLive || this.state === 'restarting') return
    if (report.state === 'failed') this.#fail(report.message)
    else this.#become(report.state)
    if (this.#go && report.state === 'started') this.order({ order: 'open' })
    if (this.#go && report.state === 'ready') this.order(this.#go)
  }

  #fail(reason: string): void {
    if (!this.isLive) return
    this.reason = reason
    this.#become('failed')
  }

  #become(state: State): void {
    this.state = state
    this.#changed()
  }

  #lastWords(): string {
    const words = readFileSync(this.#stderr, 'utf8').trim()
    return words === '' ? '' : `: ${words.slice(-1000)}`
  }
}

const WORKER = fileURLToPath(
  new URL(import.meta.url.endsWith('.ts') ? './worker.ts' : './worker.js', import.meta.url),
)
