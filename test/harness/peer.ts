import { type ChildProcess, type ForkOptions, fork } from 'node:child_process'
import { once } from 'node:events'
import { Worker } from 'node:worker_threads'
import { asset, fixture, LOADER } from '../fixtures/code.ts'
import type { Answer, Commands, Message } from './serve.ts'

/** Somebody else, a process or a thread, that does what it is told: a fixture that calls `serve`. */
abstract class Peer<C extends Commands> {
  /** Resolves when it serves; await it before anything that is timed. Rejects if it ends before. */
  readonly ready: Promise<this>
  /** The last that it told of its own accord. */
  lastEvent: unknown
  readonly #pending = new Map<number, { resolve: (value: never) => void; reject: (error: Error) => void }>()
  #begin = () => {}
  #fail: (error: Error) => void = () => {}
  #serves = false
  #calls = 0

  constructor() {
    this.ready = new Promise((resolve, reject) => {
      this.#begin = () => resolve(this)
      this.#fail = reject
    })
    // Whoever only kills it does not look.
    this.ready.catch(() => {})
  }

  protected abstract send(message: object): void

  /** Runs a command over there. Its errors reject here, with the same fields; so does its end. */
  call<K extends keyof C & string>(
    command: K,
    ...args: Parameters<C[K]>
  ): Promise<Awaited<ReturnType<C[K]>>> {
    const id = ++this.#calls
    const answer = new Promise<Awaited<ReturnType<C[K]>>>((resolve, reject) => {
      this.#pending.set(id, { resolve, reject })
    })
    // Whoever is killed leaves answers open that no test waits for.
    answer.catch(() => {})
    const send = () => this.send({ id, command, args })
    // At once, for whoever calls may block right after.
    if (this.#serves) send()
    else this.ready.then(send, (error) => this.gone(error.message))
    return answer
  }

  protected heard(message: Message): void {
    if (message === 'ready') {
      this.#serves = true
      this.#begin()
    } else if ('event' in message) this.lastEvent = message.event
    else this.#answered(message)
  }

  #answered(message: Answer): void {
    const waiting = this.#pending.get(message.id)
    this.#pending.delete(message.id)
    if (message.error) waiting?.reject(Object.assign(new Error(message.error.message), message.error))
    else waiting?.resolve(message.value as never)
  }

  protected gone(why: string): void {
    const error = new Error(why)
    this.#fail(error)
    for (const { reject } of this.#pending.values()) reject(error)
    this.#pending.clear()
  }
}

export class PeerProcess<C extends Commands = Commands> extends Peer<C> {
  readonly child: ChildProcess
  readonly exited: Promise<unknown>
  readonly #heardAll: Promise<unknown>

  /** @param script the fixture as it runs: `fixture('table-worker')` */
  constructor(script: string, args: readonly string[] = [], options: ForkOptions = {}) {
    super()
    this.child = fork(script, args, { stdio: ['ignore', 'inherit', 'inherit', 'ipc'], ...options })
    this.exited = once(this.child, 'exit')
    this.#heardAll = Promise.all([this.exited, once(this.child, 'disconnect')])
    this.child.on('message', (message) => this.heard(message as Message))
    this.child.once('exit', (code, signal) => {
      // What it said last may still be on its way.
      const end = () => this.gone(`it ended with ${code ?? signal} before it answered`)
      if (this.child.connected) this.child.once('disconnect', end)
      else end()
    })
  }

  get pid(): number {
    return this.child.pid as number
  }

  /** Sends a signal; after SIGKILL resolves when the process is gone, and all that it said has been heard. */
  async signal(name: NodeJS.Signals): Promise<void> {
    if (this.child.exitCode !== null || this.child.signalCode !== null) return
    this.child.kill(name)
    if (name === 'SIGKILL') await this.#heardAll
  }

  kill(): Promise<void> {
    return this.signal('SIGKILL')
  }

  protected send(message: object): void {
    if (!this.child.connected) this.gone('it has ended')
    else this.child.send(message, (error) => error && this.gone(error.message))
  }
}

export class PeerThread<C extends Commands = Commands> extends Peer<C> {
  readonly worker: Worker

  constructor(name: string) {
    super()
    this.worker = new Worker(LOADER.length > 0 ? asset('worker.mjs') : fixture(name), { workerData: name })
    this.worker.once('error', (error) => this.gone(String(error)))
    this.worker.on('message', (message: Message) => this.heard(message))
    this.worker.once('exit', () => this.gone('it ended before it answered'))
  }

  async kill(): Promise<void> {
    await this.worker.terminate()
  }

  protected send(message: object): void {
    this.worker.postMessage(message)
  }
}

/** Starts peers for the tests of the surrounding `describe`, all of them ready; each test's are killed after it. */
export function usePeers<C extends Commands>(
  name: string,
): (args: readonly string[], count?: number, options?: ForkOptions) => Promise<PeerProcess<C>[]> {
  const peers: PeerProcess<C>[] = []
  afterEach(() => Promise.all(peers.splice(0).map((peer) => peer.kill())))
  return (args, count = 1, options = {}) => {
    const started = Array.from({ length: count }, () => new PeerProcess<C>(fixture(name), args, options))
    peers.push(...started)
    return Promise.all(started.map(({ ready }) => ready))
  }
}

/** As `usePeers`, one at a time. */
export function usePeer<C extends Commands>(
  name: string,
): (args: readonly string[]) => Promise<PeerProcess<C>> {
  const start = usePeers<C>(name)
  return async (args) => (await start(args))[0] as PeerProcess<C>
}

/** So many peers that serve all tests of the surrounding `describe`. */
export function useSamePeers<C extends Commands>(
  name: string,
  count: number,
  options: ForkOptions = {},
): readonly PeerProcess<C>[] {
  const peers: PeerProcess<C>[] = []
  before(async () => {
    for (let i = 0; i < count; i++) peers.push(new PeerProcess<C>(fixture(name), [], options))
    await Promise.all(peers.map(({ ready }) => ready))
  })
  after(() => Promise.all(peers.map((peer) => peer.kill())))
  return peers
}
