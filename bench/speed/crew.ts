import type { ChildProcess } from 'node:child_process'
import { codeFile } from '../../test/fixtures/code.ts'
import { PeerProcess } from '../../test/harness/peer.ts'
import type { Commands } from './worker.ts'

/**
 * Eight seconds after its last work V8 makes the heap of a process small, and a process that others work beside has a few dozen
 * milliseconds of processor in each measurement to make it large again. Here every process rests for that long while the other
 * peers are measured, as none does that is at work (50 processes inserting, after a rest of 20 s: 12,000 a second with V8's
 * memory reducer, 22,000 without).
 */
const KEEPS_ITS_HEAP = '--no-memory-reducer'

const living = new Set<ChildProcess>()
// Also after Ctrl-C: who is in the middle of a measurement does not see that we are gone.
process.once('exit', () => {
  for (const child of living) child.kill('SIGKILL')
})

/** A measured process, told what to do. It ends with us. */
export class Member extends PeerProcess<Commands> {
  constructor(seed: number, number: number, env?: NodeJS.ProcessEnv) {
    super(codeFile('bench/speed/worker'), [String(seed), String(number)], {
      // Followed by what we were started with: tsx's loader, or --cpu-prof.
      execArgv: ['--expose-gc', KEEPS_ITS_HEAP, ...process.execArgv],
      stdio: ['inherit', 'inherit', 'inherit', 'ipc'],
      env: { ...process.env, ...env },
    })
    living.add(this.child)
    this.child.once('exit', () => living.delete(this.child))
  }

  /** Lets it end by itself, so that a profiler can write what it has, or kills it. */
  async end(how: 'disconnect' | 'kill'): Promise<void> {
    if (this.child.exitCode !== null || this.child.signalCode !== null) return
    if (how === 'kill') this.child.kill('SIGKILL')
    else if (this.child.connected) this.child.disconnect()
    await this.exited
  }
}

/** The processes that share a store. */
export class Crew {
  readonly members: readonly Member[]

  /** @param env what their environment has besides ours */
  constructor(count: number, seed: number, env?: NodeJS.ProcessEnv) {
    this.members = Array.from({ length: count }, (_, i) => new Member(seed, i, env))
  }

  /** Tells all of them the same, and resolves with all answers. */
  all<K extends keyof Commands>(
    command: K,
    ...args: Parameters<Commands[K]>
  ): Promise<Awaited<ReturnType<Commands[K]>>[]> {
    return Promise.all(this.members.map((member) => member.call(command, ...args)))
  }

  get first(): Member {
    return this.members[0] as Member
  }

  async end(how: 'disconnect' | 'kill'): Promise<void> {
    await Promise.all(this.members.map((member) => member.end(how)))
  }
}
