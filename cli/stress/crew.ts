import { setTimeout as pause } from 'node:timers/promises'
import { Executioner } from './executioner.ts'
import type { History } from './history.ts'
import { Member } from './member.ts'
import type { StressOptions } from './options.ts'

/** How far a run is. */
export interface Progress {
  readonly phase: 'starting' | 'opening' | 'working' | 'checking'
  /** Workers that are up, or operations done. */
  readonly done: number
  readonly total: number
  readonly live: number
}

export type OnProgress = (progress: Progress) => void

/** How often the parent looks; more often while it is waiting for the moment to kill. */
const LOOK_MS = 100
const AIM_MS = 5

/**
 * Starts the workers, lets them begin together, kills those that are to be killed, and waits for the rest.
 * @throws the signal's reason; no worker is left running however it ends
 */
export async function runCrew(
  path: string,
  options: StressOptions,
  onProgress: OnProgress,
  signal: AbortSignal | undefined,
): Promise<History[]> {
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
      member.order('open')
      // Vanilla NeDB rewrites the file when it opens it. One at a time, so that the control is spoilt by its work only.
      if (options.unlocked) await until('opening', 'opening')
    }
    await until('opening', 'opening')
    for (const member of crew.filter(({ state }) => state === 'ready')) member.order('go')

    const executioner = new Executioner(options, crew)
    const total = options.procs * options.ops
    for (;;) {
      const live = crew.filter((member) => member.isLive)
      const done = crew.reduce((sum, member) => sum + member.done, 0)
      onProgress({ phase: 'working', done, total, live: live.length })
      signal?.throwIfAborted()
      if (live.length === 0) break
      watchdog.look(live)
      executioner.look(done / total)
      const woken = new Promise<void>((resolve) => {
        wake = resolve
      })
      await Promise.race([woken, pause(executioner.isWaiting ? AIM_MS : LOOK_MS)])
    }
    await Promise.all(crew.map((member) => member.ended))
    return crew.map((member) => member.history())
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
