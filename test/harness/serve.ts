import { parentPort } from 'node:worker_threads'
import { PsLockError } from '../../src/errors.ts'

// biome-ignore lint/suspicious/noExplicitAny: commands have nothing in common
export type Commands = { readonly [name: string]: (...args: any[]) => unknown }

/** What a peer is told to do. */
export interface Request {
  readonly id: number
  readonly command: string
  readonly args: readonly unknown[]
}

export interface Answer {
  readonly id: number
  readonly value?: unknown
  readonly error?: { readonly message: string }
}

/** What it says: that it serves, what came of a request, or something of its own accord. */
export type Message = 'ready' | Answer | { readonly event: unknown }

function say(message: Message): void {
  if (parentPort) parentPort.postMessage(message)
  else process.send?.(message)
}

/** What gets over there of an error. */
export function fieldsOf(error: unknown): { message: string } {
  if (!(error instanceof Error)) return { message: String(error) }
  return {
    ...JSON.parse(JSON.stringify(error)),
    name: error.name,
    message: error.message,
    isPsLockError: error instanceof PsLockError,
  }
}

/**
 * Makes this process, or worker thread, a peer: it runs the commands that peer.ts sends, several at a time, and answers.
 * @param commands by name, or a function that finds one
 */
export function serve(commands: Commands | ((name: string) => Commands[string])): void {
  const answer = async ({ id, command, args }: Request) => {
    try {
      const run = typeof commands === 'function' ? commands(command) : commands[command]
      if (run === undefined) throw new TypeError(`there is no command ${command}`)
      say({ id, value: await run(...args) })
    } catch (error) {
      say({ id, error: fieldsOf(error) })
    }
  }
  const inbox = parentPort ?? process
  inbox.on('message', (request: Request) => void answer(request))
  say('ready')
}

/** Tells whoever started this process something that was not asked for. */
export function tell(event: unknown): void {
  say({ event })
}
