import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { fixture } from '../fixtures/code.ts'
import type { Commands } from '../fixtures/step-worker.ts'

type Result<K extends keyof Commands> = Promise<Awaited<ReturnType<Commands[K]>>>

/** A process with a store of its own. */
export class Stepper {
  readonly child: ChildProcess
  readonly #waiting = new Map<number, (answer: { value?: never; error?: unknown }) => void>()
  #calls = 0

  constructor() {
    // Dates, undefined, -0 and holes get through.
    this.child = fork(fixture('step-worker'), { serialization: 'advanced' })
    this.child.on('message', (message: 'ready' | [number, { value?: never }]) => {
      if (message === 'ready') return
      this.#waiting.get(message[0])?.(message[1])
      this.#waiting.delete(message[0])
    })
    this.child.once('exit', (code, signal) => {
      const error = new Error(`the process ended with ${code ?? signal} before it answered`)
      for (const answer of this.#waiting.values()) answer({ error })
    })
  }

  call<K extends keyof Commands>(command: K, ...args: Parameters<Commands[K]>): Result<K> {
    const id = ++this.#calls
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, (answer) => {
        if ('error' in answer) reject(answer.error)
        else resolve(answer.value as never)
      })
      this.child.send([id, command, args])
    })
  }
}

/** Processes that serve all tests of the surrounding `describe`. */
export function useSteppers(count: number): readonly Stepper[] {
  const steppers: Stepper[] = []
  before(async () => {
    for (let i = 0; i < count; i++) steppers.push(new Stepper())
    await Promise.all(steppers.map(({ child }) => once(child, 'message')))
  })
  after(async () => {
    const exits = steppers.map(({ child }) => once(child, 'exit'))
    for (const { child } of steppers) child.kill('SIGKILL')
    await Promise.all(exits)
  })
  return steppers
}
