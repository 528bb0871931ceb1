import { type ChildProcess, fork } from 'node:child_process'
import { mkdirSync, mkdtempSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import type { LockHolder } from '../../src/errors.ts'
import { status } from '../status/status.ts'
import type { Asked, Role, Told } from './inserter.ts'
import type { Knobs } from './knobs.ts'
import { readTallies, type Tally, talliesOf } from './tally.ts'

/** One process as the page shows it. */
export interface Row {
  readonly pid: number
  readonly name: string
  /** Whether the server has started it: only such a process gets signals from here. */
  readonly own: boolean
  readonly state:
    | 'starting'
    | 'ready'
    | 'inserting'
    | 'waiting'
    | 'holding'
    | 'pausing'
    | 'holding, stopped'
    | 'stopped'
    | 'ended'
    | 'killed'
    | 'failed'
  /** For how long it has waited or held the lock. */
  readonly sinceMs: number
  readonly num?: number | undefined
  readonly done: number
  readonly failed: number
  readonly longestMs: number
  readonly error?: string | undefined
  /** Whether it has compacted the file. */
  readonly compacted: boolean
}

export interface Result {
  /** How many records the processes have tried to insert. */
  readonly expected: number
  /** Of how many they have been told that they are in. */
  readonly acknowledged: number
  /** What the library without pslock finds. */
  readonly found?: number | undefined
  /** Why it finds nothing. */
  readonly error?: string | undefined
}

export interface Snapshot {
  readonly run: number
  readonly phase: 'starting' | 'running' | 'counting' | 'done'
  readonly knobs: Knobs
  readonly file: string
  readonly elapsedMs: number
  readonly rows: readonly Row[]
  readonly result?: Result | undefined
}

/** What the buttons of a process send. */
export const SIGNALS = { kill: 'SIGKILL', stop: 'SIGSTOP', continue: 'SIGCONT' } as const
export type SignalName = keyof typeof SIGNALS

/** Whoever has waited for less is just inserting. */
const WAITING_MS = 20
const SITE_LEAVES_MS = 2000

interface Member {
  readonly child: ChildProcess
  readonly ended: Promise<void>
  ready: boolean
  stopped: boolean
  over?: 'ended' | 'killed' | 'failed'
  error?: string | undefined
}

/** One run: processes that insert into a file of their own, and what became of it. */
export class Run {
  readonly id: number
  readonly knobs: Knobs
  readonly file: string
  readonly #announce: (pid: number, ended: boolean) => void
  readonly #members = new Map<number, Member>()
  readonly #requests = new Map<number, (told: { ms: number; error?: string | undefined }) => void>()
  readonly #inserters: Member[] = []
  #site: Member | undefined
  #lastRequest = 0
  #phase: Snapshot['phase'] = 'starting'
  #begunAt: number | undefined
  #elapsedMs = 0
  #result: Result | undefined
  /** What it does by itself: it starts, or counts. */
  #task: Promise<void> = Promise.resolve()
  #isEnded = false
  #isClosed = false

  /**
   * @param folder where the file is made
   * @param announce is told of every process that begins or has ended
   */
  constructor(id: number, knobs: Knobs, folder: string, announce: (pid: number, ended: boolean) => void) {
    this.id = id
    this.knobs = knobs
    this.#announce = announce
    const own = mkdtempSync(join(folder, `run-${id}-`))
    this.file = join(own, knobs.way === 'sqlite' ? 'records.sqlite' : 'records.db')
    mkdirSync(talliesOf(this.file))
  }

  /**
   * Starts the web site, which makes the file, and then the others, one after the other: without a lock two cannot even
   * open the file at once. All of them begin at the same moment.
   */
  start(): void {
    this.#task = this.#start()
  }

  /** What there is to see, now. Also notices that all have ended, and has the records counted. */
  async look(): Promise<Snapshot> {
    const tallies = readTallies(talliesOf(this.file))
    const strangers = tallies.filter(({ pid }) => !this.#members.has(pid))
    const areAtWork = !this.#isEnded && strangers.some(isAtWork)
    if (areAtWork && this.#phase === 'done') {
      this.#phase = 'running'
      this.#result = undefined
    }
    const isOver = this.#inserters.every(({ over }) => over !== undefined) && !areAtWork
    if (this.#phase === 'running') {
      this.#elapsedMs = performance.now() - (this.#begunAt ?? performance.now())
      if (isOver) this.#task = this.#count()
    }
    const { id, knobs, file } = this
    return {
      run: id,
      phase: this.#phase,
      knobs,
      file,
      elapsedMs: this.#elapsedMs,
      rows: await this.#rows(tallies),
      result: this.#result,
    }
  }

  /** Sends a signal to a process that this run has started. @returns whether there is such a process */
  signal(pid: number, name: SignalName): boolean {
    const member = this.#members.get(pid)
    if (member === undefined || member.over !== undefined) return false
    member.child.kill(SIGNALS[name])
    if (name !== 'kill') member.stopped = name === 'stop'
    return true
  }

  /** Has the web site insert one record. Undefined: there is none any more. */
  request(): Promise<{ ms: number; error?: string | undefined } | undefined> {
    const site = this.#site
    if (site === undefined || site.over !== undefined || !site.ready) return Promise.resolve(undefined)
    const request = ++this.#lastRequest
    return Promise.race([
      new Promise<{ ms: number; error?: string | undefined }>((resolve) => {
        this.#requests.set(request, resolve)
        send(site.child, { request })
      }),
      site.ended.then(() => undefined),
    ])
  }

  /** Ends its processes; what they have inserted is counted. */
  end(): void {
    this.#isEnded = true
    for (const { child } of this.#members.values()) child.kill('SIGKILL')
    if (this.#phase === 'starting') this.#phase = 'running'
  }

  /** Ends all that belongs to it. */
  async close(): Promise<void> {
    this.#isClosed = true
    this.end()
    await this.#task
    await Promise.all([...this.#members.values()].map(({ ended }) => ended))
  }

  async #start(): Promise<void> {
    const { file, knobs } = this
    this.#site = await this.#launchReady({ role: 'site', file, options: knobs })
    for (let index = 0; index < knobs.processes && !this.#isEnded; index++) {
      const options = { ...knobs, compacts: index === 0 }
      this.#inserters.push(await this.#launchReady({ role: 'inserter', file, options }))
    }
    if (this.#isEnded) return
    this.#begunAt = performance.now()
    this.#phase = 'running'
    for (const { child } of this.#inserters) send(child, { go: true })
  }

  async #count(): Promise<void> {
    this.#phase = 'counting'
    const site = this.#site
    if (site !== undefined && site.over === undefined) {
      send(site.child, { leave: true })
      await Promise.race([site.ended, pause(SITE_LEAVES_MS)])
      site.child.kill('SIGKILL')
      await site.ended
    }
    const tallies = readTallies(talliesOf(this.file))
    const acknowledged = tallies.reduce((sum, { done }) => sum + done, 0)
    const expected = tallies.reduce((sum, { failed }) => sum + failed, acknowledged)
    let found: number | undefined
    const counter = this.#launch({ role: 'counter', file: this.file, options: this.knobs }, (told) => {
      if ('found' in told) found = told.found
    })
    await counter.ended
    this.#result = { expected, acknowledged, found, error: counter.error }
    this.#phase = 'done'
  }

  /** Until it is ready, or has ended. */
  async #launchReady(role: Role): Promise<Member> {
    const member = this.#launch(role)
    await Promise.race([new Promise((told) => member.child.once('message', told)), member.ended])
    return member
  }

  #launch(role: Role, onTold: (told: Told) => void = () => {}): Member {
    const child = forked(role)
    let end = () => {}
    const ended = new Promise<void>((resolve) => {
      end = resolve
    })
    const member: Member = { child, ended, ready: false, stopped: false }
    child.on('message', (told: Told) => {
      onTold(told)
      if ('ready' in told) member.ready = true
      if ('failed' in told) member.error = told.failed
      if (!('request' in told)) return
      this.#requests.get(told.request)?.(told)
      this.#requests.delete(told.request)
    })
    const gone = (over: 'ended' | 'killed' | 'failed') => {
      member.over ??= over
      if (child.pid !== undefined) this.#announce(child.pid, true)
      end()
    }
    child.on('error', (error) => {
      member.error = error.message
      if (child.pid === undefined) gone('failed')
    })
    child.on('close', (code, signal) => {
      if (signal === null) gone(code === 0 ? 'ended' : 'failed')
      else gone(this.#isEnded ? 'ended' : 'killed')
    })
    if (child.pid !== undefined) {
      this.#announce(child.pid, false)
      this.#members.set(child.pid, member)
    }
    if (this.#isClosed) child.kill('SIGKILL')
    return member
  }

  async #rows(tallies: readonly Tally[]): Promise<Row[]> {
    const hasLock = this.knobs.way === 'pslock' && this.#phase === 'running'
    const holders = hasLock ? (await status(this.file)).holders : []
    const rowOf = (pid: number, name: string, member: Member | undefined, tally: Tally | undefined): Row => {
      const sinceMs = tally === undefined ? 0 : Date.now() - tally.since
      const holder = holders.find((one) => one.pid === pid)
      return {
        pid,
        name,
        own: member !== undefined,
        state: stateOf(this.knobs, member, tally, sinceMs, holder),
        sinceMs: holder?.sinceMs ?? sinceMs,
        num: tally?.num,
        done: tally?.done ?? 0,
        failed: tally?.failed ?? 0,
        longestMs: tally?.longestMs ?? 0,
        error: member?.error ?? tally?.error,
        compacted: tally?.compacted ?? false,
      }
    }
    const names = ['web site', ...Array.from({ length: this.knobs.processes }, (_, index) => nameOf(index))]
    return [
      ...names.map((name, index) => {
        const member = index === 0 ? this.#site : this.#inserters[index - 1]
        const pid = member?.child.pid ?? 0
        return rowOf(
          pid,
          name,
          member,
          tallies.find((tally) => tally.pid === pid),
        )
      }),
      ...tallies
        .filter(({ pid }) => !this.#members.has(pid))
        .map((tally) => rowOf(tally.pid, 'from a terminal', undefined, tally)),
    ]
  }
}

function nameOf(index: number): string {
  return `process ${index + 1}`
}

function stateOf(
  { way }: Knobs,
  member: Member | undefined,
  tally: Tally | undefined,
  sinceMs: number,
  holder: LockHolder | undefined,
): Row['state'] {
  if (member?.over !== undefined) return member.over
  if (tally === undefined) return 'starting'
  if (tally.state === 'ended') return 'ended'
  if (member === undefined && !isAtWork(tally)) return 'killed'
  const state = holder?.state ?? tally.state
  if (member?.stopped || holder?.stopped) return state === 'holding' ? 'holding, stopped' : 'stopped'
  if (holder !== undefined) return holder.state
  if (tally.state !== 'waiting') return tally.state
  return way !== 'none' && sinceMs >= WAITING_MS ? 'waiting' : 'inserting'
}

/** Of a process that we have not started. */
function isAtWork({ pid, state }: Tally): boolean {
  if (state === 'ended') return false
  try {
    return process.kill(pid, 0)
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM'
  }
}

function send(child: ChildProcess, asked: Asked): void {
  // Nobody is surprised that one who was killed cannot be reached.
  if (child.connected) child.send(asked, () => {})
}

/** A process of the demo. */
export function forked(role: Role): ChildProcess {
  return fork(INSERTER, [JSON.stringify(role)], {
    stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
    // Else Ctrl-C would end it too while it is still loading.
    detached: role.role === 'watchdog',
    execArgv: INSERTER.endsWith('.ts') ? process.execArgv : [],
  })
}

const INSERTER = fileURLToPath(
  new URL(import.meta.url.endsWith('.ts') ? './inserter.ts' : './inserter.js', import.meta.url),
)
