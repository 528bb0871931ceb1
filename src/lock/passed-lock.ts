import { statSync } from 'node:fs'
import {
  asError,
  errnoOf,
  LockDeadlockError,
  LockIoError,
  type LockMode,
  LockUpgradeError,
  orUndefined,
} from '../errors.ts'
import { type Answer, ask, canPassDescriptors } from '../os/descriptor-passing.ts'
import { closeQuietly } from '../os/flock.ts'
import { commandOf, descends, isAlive, startOf } from '../os/processes.ts'
import { LockFile } from './lock-file.ts'

/**
 * A hold that is passed on: `pslock run` holds a lock while its command runs, and whatever the command starts may take the
 * same lock inside that hold, by turns.
 *
 * It is asked for each time, and nothing is believed that the environment says: the holder has the kernel tell who asks,
 * and answers only its own descendants. Its answer carries a copy of the descriptor that is locked, so that the lock
 * lasts until the copy is closed, also where the holder has ended or was killed meanwhile. It gives out one at a time
 * (several for shared), and a connection that closes, as it does when its process dies, gives the copy back. Who passes on
 * what was passed on to it gives out a copy of its connection as well: the lock may outlast the process in between.
 */

/** The variable in which a holder tells its descendants where to ask. */
const VARIABLE = 'PSLOCK_HELD'

/** What a holder says of a lock that it holds. */
export interface PassedHold {
  /** Device and inode of the lock file. */
  readonly file: string
  readonly mode: LockMode
  readonly pid: number
  /** When the holder started (see `startOf`); undefined where the system does not tell. */
  readonly start: string | undefined
  /** The abstract socket to ask at; undefined where descriptors cannot be passed. */
  readonly socket: string | undefined
}

/** What the asker says, and what the holder answers. */
export const QUESTION: Record<LockMode, string> = { exclusive: 'x', shared: 's' }
export const ANSWER = { granted: 'g', busy: 'b', upgrade: 'u', stranger: 'n' } as const

/** The answer takes a third of a millisecond; a holder that is stopped never gives it. */
const ANSWER_WITHIN_MS = 250
/** A holder that has not answered is left alone for so long: each question blocks the thread. */
const PAUSE_MS = 1000

/** What there is to say of a lock file that this process holds. @throws where it is not there any more */
export function passedHold(lockPath: string, mode: LockMode, socket: string | undefined): PassedHold {
  return { file: identityOf(lockPath), mode, pid: process.pid, start: startOf(process.pid), socket }
}

/** The variable for a command that is started under this hold, with what ancestors hold besides. */
export function environmentWith(hold: PassedHold): Record<string, string> {
  const others = holdsOfAncestors().filter(({ file }) => file !== hold.file)
  return { [VARIABLE]: [hold, ...others].map(written).join(' ') }
}

/** The lock of that file, if an ancestor of this process says that it holds it. */
export function passedLock(path: string, guards: string | undefined): PassedLock | undefined {
  if (process.env[VARIABLE] === undefined) return undefined
  // Where there is no such lock file nobody holds it.
  const file = orUndefined(() => identityOf(path))
  const hold = holdsOfAncestors().find((held) => held.file === file)
  return hold && new PassedLock(path, guards, hold)
}

function identityOf(path: string): string {
  const { dev, ino } = statSync(path, { bigint: true })
  return `${dev}:${ino}`
}

function written({ file, mode, pid, start = '', socket = '' }: PassedHold): string {
  return [file, mode, pid, start, socket].join(':')
}

function holdsOfAncestors(): PassedHold[] {
  return (process.env[VARIABLE] ?? '').split(' ').flatMap((text) => {
    const match = /^(\d+:\d+):(exclusive|shared):(\d+):(\d*):([\w-]*)$/.exec(text)
    if (!match) return []
    const [, file = '', mode, pid, start, socket] = match
    return [
      {
        file,
        mode: mode as LockMode,
        pid: Number(pid),
        start: start || undefined,
        socket: socket || undefined,
      },
    ]
  })
}

/** A lock that an ancestor holds for this process too. As soon as that has ended it is a lock file like any other. */
export class PassedLock extends LockFile {
  #hold: PassedHold | undefined
  /**
   * What was given out to us: the copy of the descriptor, and the connections by whose end it is given back. Several where
   * it was given to an ancestor who has passed it on: then each who has given it out waits for us, too.
   */
  #granted: { readonly copy: number; readonly connections: readonly number[] } | undefined
  #askAgainAt = 0

  constructor(path: string, guards: string | undefined, hold: PassedHold) {
    super(path, guards)
    this.#hold = hold
  }

  get isPassedOn(): boolean {
    return this.#hold !== undefined
  }

  /**
   * @throws LockUpgradeError where the ancestor holds it shared; LockDeadlockError where it holds it and cannot share it;
   * LockIoError, LockUnsupportedError
   */
  override tryLock(mode: LockMode, thorough = true): boolean {
    const hold = this.#hold
    if (!hold) return super.tryLock(mode, thorough)
    if (hold.socket === undefined || !canPassDescriptors) return this.#tryBeside(hold, mode, thorough)
    if (performance.now() < this.#askAgainAt) return false
    const asked = performance.now()
    let answered: ReturnType<typeof ask>
    try {
      answered = ask(hold.socket, QUESTION[mode], ANSWER_WITHIN_MS)
    } catch (cause) {
      // No descriptors left, for one, passes; without koffi it never will.
      if (errnoOf(cause) === 'MODULE_NOT_FOUND') return this.#tryBeside(hold, mode, thorough, cause)
      const message = `cannot take part in the hold of ${this.path} by ${who(hold)}: ${asError(cause).message}`
      throw new LockIoError(message, { path: this.path, cause })
    }
    if (answered === 'unanswered') {
      if (performance.now() - asked >= ANSWER_WITHIN_MS / 2) this.#askAgainAt = asked + PAUSE_MS
      return false
    }
    // It has ended, or we do not descend from it: or so it seems from another network or process namespace.
    if (answered === 'gone') return this.#tryBeside(hold, mode, thorough)
    if (this.#take(answered)) return true
    if (answered.byte === ANSWER.busy) return false
    if (answered.byte === ANSWER.upgrade) throw this.#upgrade(hold)
    if (answered.byte === ANSWER.stranger) return this.#tryBeside(hold, mode, thorough)
    // What it holds is not what the path names now.
    this.#hold = undefined
    return super.tryLock(mode, thorough)
  }

  /** As LockFile's; inside a hold of an ancestor's what was given out may be copied on. */
  override passOn(): readonly number[] {
    return this.#granted ? [this.#granted.copy, ...this.#granted.connections] : super.passOn()
  }

  override unlock(): void {
    if (this.#granted) this.#giveBack()
    else super.unlock()
  }

  override close(): void {
    this.#giveBack()
    super.close()
  }

  #giveBack(): void {
    const granted = this.#granted
    this.#granted = undefined
    // The copy first: when the connections are closed somebody else may have it.
    if (granted) for (const fd of [granted.copy, ...granted.connections]) closeQuietly(fd)
  }

  #take({ byte, descriptors, connection }: Answer): boolean {
    const [copy, ...others] = descriptors
    if (byte !== ANSWER.granted || copy === undefined) {
      closeQuietly(connection)
      return false
    }
    // One's own descriptor would be asked, from now on, what the path names.
    this.close()
    this.#granted = { copy, connections: [connection, ...others] }
    try {
      this.named.opened(copy)
      if (this.isCurrent) return true
    } catch {
      // fstat(2) of an open descriptor does not fail; and if it does, this is not the lock.
    }
    this.#giveBack()
    return false
  }

  /** The hold cannot be shared: the lock is ours where it is free for us. Where an ancestor has it, it never will be. */
  #tryBeside(hold: PassedHold, mode: LockMode, thorough: boolean, cause?: unknown): boolean {
    const isTaken = super.tryLock(mode, thorough)
    if (hold.mode === 'shared' && mode === 'shared') return isTaken
    if (isTaken || !isAncestor(hold)) {
      this.#hold = undefined
      return isTaken
    }
    if (hold.mode === 'shared') throw this.#upgrade(hold)
    throw new LockDeadlockError(
      `${this.path} is held by an ancestor of this process, ${who(hold)}, which waits for this one to end. Here it cannot ` +
        'share its hold: that takes Linux (x64 or arm64) and koffi. Do not lock what is locked already, or do not use pslock run.',
      { path: this.path, cause },
    )
  }

  #upgrade(hold: PassedHold): LockUpgradeError {
    return new LockUpgradeError(
      `an exclusive lock of ${this.path} was asked for inside the shared hold of an ancestor, ${who(hold)}. Two such ` +
        'commands would wait for each other for ever: leave out --shared there.',
      { path: this.path },
    )
  }
}

function isAncestor({ pid, start }: PassedHold): boolean {
  if (!isAlive(pid, start)) return false
  return process.platform !== 'linux' || descends(process.pid, pid)
}

function who({ pid }: PassedHold): string {
  const command = commandOf(pid)
  return command === undefined ? `process ${pid}` : `process ${pid} (${command})`
}
