import { type ChildProcess, fork } from 'node:child_process'
import { closeSync, openSync, readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import type { History } from './history.ts'
import { readLedger } from './ledger.ts'
import { LedgerTail } from './ledger-tail.ts'
import type { StressOptions } from './options.ts'
import type { Order, Report, WorkerOptions } from './worker.ts'

type State =
  | 'starting'
  | 'started'
  | 'opening'
  | 'ready'
  | 'working'
  | 'leaving'
  | 'finished'
  | 'killed'
  | 'failed'

/** One worker process as its parent sees it. */
export class Member {
  readonly worker: number
  readonly #child: ChildProcess
  readonly #tail: LedgerTail
  readonly #ledger: string
  readonly #stderr: string
  readonly ended: Promise<void>
  state: State = 'starting'
  reason: string | undefined
  #changed: () => void

  constructor(worker: number, path: string, options: StressOptions, changed: () => void) {
    this.worker = worker
    this.#changed = changed
    this.#ledger = `${path}.ledger-${worker}`
    this.#stderr = `${path}.stderr-${worker}`
    closeSync(openSync(this.#ledger, 'w'))
    this.#tail = new LedgerTail(this.#ledger)
    const started: WorkerOptions = { ...options, worker, path, ledger: this.#ledger }
    const stderr = openSync(this.#stderr, 'w')
    this.#child = fork(WORKER, [JSON.stringify(started)], {
      stdio: ['ignore', 'ignore', stderr, 'ipc'],
      // The compiled worker needs nothing of ours; a TypeScript one needs the loader we run under.
      execArgv: WORKER.endsWith('.ts') ? process.execArgv : [],
    })
    closeSync(stderr)
    this.#child.on('message', (report: Report) => this.#reported(report))
    this.ended = new Promise((resolve) => {
      this.#child.on('error', (error) => {
        this.#fail(`could not be started: ${error.message}`)
        if (this.#child.pid === undefined) resolve()
      })
      this.#child.on('exit', (code, signal) => {
        // Its last message may still be under way.
        if (this.#child.connected) this.#child.once('disconnect', () => resolve(this.#gone(code, signal)))
        else resolve(this.#gone(code, signal))
      })
    })
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
    this.#become(order === 'open' ? 'opening' : 'working')
    this.#child.send(order, (error) => {
      if (error && this.isLive) this.#fail(`could not be reached: ${error.message}`)
    })
  }

  /** kill -9. */
  kill(): void {
    this.#child.kill('SIGKILL')
    if (this.isLive) this.#become('killed')
  }

  /** Ends a worker that makes no progress. */
  giveUp(reason: string): void {
    this.#fail(reason)
    this.#child.kill('SIGKILL')
  }

  history(): History {
    this.#tail.close()
    const ended = this.state === 'killed' || this.state === 'finished' ? this.state : 'failed'
    return { worker: this.worker, entries: readLedger(this.#ledger), ended, reason: this.reason }
  }

  #gone(code: number | null, signal: NodeJS.Signals | null): void {
    if (this.state === 'leaving' && code === 0) this.#become('finished')
    else this.#fail(`ended by itself (${signal ?? `exit code ${code}`})${this.#lastWords()}`)
  }

  #reported(report: Report): void {
    if (!this.isLive) return
    if (report.state === 'failed') this.#fail(report.message)
    else this.#become(report.state)
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
