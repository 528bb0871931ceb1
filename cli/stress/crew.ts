import { setTimeout as pause } from 'node:timers/promises'
import { type Disturbance, Disturber } from './chaos/disturber.ts'
import { Executioner } from './executioner.ts'
import type { History } from './history.ts'
import { now } from './ledger.ts'
import { Member } from './member.ts'
import type { StressOptions } from './options.ts'

/** How far a run is. */
export interface Progress {
  readonly phase: 'starting' | 'opening' | 'working' | 'running' | 'checking'
  /** Workers that are up, operations done (working), or seconds gone (running). */
  readonly done: number
  readonly total: number
  readonly live: number
}

export type OnProgress = (progress: Progress) => void

/** How often the parent looks; more often while it is waiting for the moment to kill. */
const LOOK_MS = 100
const AIM_MS = 5

/** What the workers were told, and what was done to them. */
export interface CrewRun {
  readonly histories: readonly History[]
  readonly disturbances: readonly Disturbance[]
  /** When they began to work, in nanoseconds of the clock that all processes share. */
  readonly begin: number
  /** Ended by the signal, before the work was done. */
  readonly interrupted: boolean
}

/**
 * Starts the workers, lets them begin together, disturbs them as it was asked to, and waits for them.
 * @throws the signal's reason if they have not begun yet; no worker is left running, or stopped, however it ends
 */
export async function runCrew(
  path: string,
  options: StressOptions,
  onProgress: OnProgress,
  signal: AbortSignal | undefined,
): Promise<CrewRun> {
  let wake = () => {}
  const changed = () => wake()
  const crew: Member[] = []
  const abort = () => {
    for (const member of crew) member.kill()
    wake()
  }
  signal?.throwIfAborted()
  signal?.addEventListener('abort', abort)
  const watchdog = new Watchdog(options.stallMs)

  /** Waits, with a look now and then, until no worker is in any of these states. */
  const until = async (phase: Progress['phase'], ...states: Member['state'][]): Promise<void> => {
    for (;;) {
      const waiting = crew.filter((member) => states.includes(member.state))
      const left = waiting.length
      const live = crew.filter((member) => member.isLive).length
      onProgress({ phase, done: options.procs - left, total: options.procs, live })
      signal?.throwIfAborted()
      if (left === 0) return
      watchdog.look(waiting)
      const woken = new Promise<void>((resolve) => {
        wake = resolve
      })
      await Promise.race([woken, pause(LOOK_MS)])
    }
  }

  try {
    for (let worker = 0; worker < options.procs; worker++) {
      crew.push(new Member(worker, path, options, changed))
    }
    await until('starting', 'starting')
    for (const member of crew.filter(({ state }) => state === 'started')) {
      member.order({ order: 'open' })
      // Vanilla NeDB rewrites the file when it opens it. One at a time, so that the control is spoilt by its work only.
      if (options.unlocked) await until('opening', 'opening')
    }
    await until('opening', 'opening')
    const begin = now()
    const { seconds } = options
    const end = seconds === undefined ? undefined : begin + seconds * 1e9
    for (const member of crew.filter(({ state }) => state === 'ready')) {
      member.order({ order: 'go', begin, end })
    }

    const executioner = new Executioner(options, crew)
    const disturber = new Disturber(options, crew)
    const total = options.procs * options.ops
    for (;;) {
      const live = crew.filter((member) => member.isLive)
      const done = crew.reduce((sum, member) => sum + member.done, 0)
      const goneMs = (now() - begin) / 1e6
      const share = seconds === undefined ? done / total : goneMs / (seconds * 1000)
      onProgress({
        ...(seconds === undefined
          ? { phase: 'working', done, total }
          : { phase: 'running', done: Math.min(seconds, Math.floor(goneMs / 1000)), total: seconds }),
        live: live.length,
      })
      if (live.length === 0 || signal?.aborted) break
      watchdog.look(live)
      executioner.look(share)
      const nextMs = share < 1 ? disturber.look() : Number.POSITIVE_INFINITY
      const woken = new Promise<void>((resolve) => {
        wake = resolve
      })
      await Promise.race([woken, pause(Math.min(nextMs, executioner.isWaiting ? AIM_MS : LOOK_MS))])
    }
    const interrupted = signal?.aborted === true
    await Promise.all(crew.map((member) => member.ended))
    return {
      histories: crew.map((member) => member.history()),
      disturbances: [...executioner.done, ...disturber.done],
      begin,
      interrupted,
    }
  } finally {
    signal?.removeEventListener('abort', abort)
    for (const member of crew) member.kill()
    await Promise.all(crew.map((member) => member.ended))
  }
}

/** Ends workers without any progress, so that a hang is an error and not a hang. */
class Watchdog {
  readonly #stallMs: number
  readonly #seen = new Map<Member, { progress: string; since: number }>()

  constructor(stallMs: number) {
    this.#stallMs = stallMs
  }

  look(members: readonly Member[]): void {
    const now = performance.now()
    for (const member of members) {
      const progress = `${member.state} ${member.done}`
      const seen = this.#seen.get(member)
      if (seen?.progress !== progress) this.#seen.set(member, { progress, since: now })
      else if (now - seen.since >= this.#stallMs) {
        const seconds = Math.round(this.#stallMs / 1000)
        member.giveUp(`no progress for ${seconds} s while ${member.state}, after ${member.done} operations`)
      }
    }
  }
}
