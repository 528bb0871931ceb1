import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import type { WaitingCommands } from './commands.ts'

interface Reply {
  readonly id: number
  readonly value?: unknown
  readonly error?: string
}

const TSX = import.meta.resolve('tsx')
const NODE_WORKER = fileURLToPath(new URL('worker.ts', import.meta.url))
const PYTHON_WORKER = fileURLToPath(new URL('worker.py', import.meta.url))

/** Arguments of Node that let it run a file of TypeScript. */
export function nodeArguments(script: string): string[] {
  // V8 collects garbage when nothing has happened for some seconds: just when the cost of waiting is measured.
  return ['--no-memory-reducer', '--import', TSX, script]
}

/** Another process that takes locks as it is told, in lines of JSON. It ends with us. */
export class Mate {
  readonly child: ChildProcess
  readonly #pending = new Map<number, { resolve: (value: never) => void; reject: (error: Error) => void }>()
  #calls = 0

  constructor(language: 'node' | 'python') {
    const [command, args] =
      language === 'node'
        ? [process.execPath, nodeArguments(NODE_WORKER)]
        : ['python3', ['-u', PYTHON_WORKER]]
    this.child = spawn(command, args, { stdio: ['pipe', 'pipe', 'inherit'] })
    createInterface({ input: this.child.stdout! }).on('line', (line) => this.#answered(JSON.parse(line)))
    // Whoever is killed leaves answers open; a command that does not exist says so here.
    this.child.once('error', (error) => this.#gone(error.message))
    this.child.once('exit', (code, signal) => this.#gone(`the process ended with ${code ?? signal}`))
    this.child.stdin!.on('error', () => {})
  }

  /** Runs a command over there. */
  call<K extends keyof WaitingCommands>(
    command: K,
    ...args: Parameters<WaitingCommands[K]>
  ): Promise<ReturnType<WaitingCommands[K]>> {
    const id = ++this.#calls
    const answer = new Promise<ReturnType<WaitingCommands[K]>>((resolve, reject) => {
      this.#pending.set(id, { resolve, reject })
    })
    answer.catch(() => {})
    this.child.stdin!.write(`${JSON.stringify({ id, command, args })}\n`)
    return answer
  }

  async kill(): Promise<void> {
    if (this.child.pid === undefined || this.child.exitCode !== null || this.child.signalCode !== null) return
    const exited = once(this.child, 'exit')
    this.child.kill('SIGKILL')
    await exited
  }

  #answered({ id, value, error }: Reply): void {
    const waiting = this.#pending.get(id)
    this.#pending.delete(id)
    if (error === undefined) waiting?.resolve(value as never)
    else waiting?.reject(new Error(error))
  }

  #gone(why: string): void {
    for (const { reject } of this.#pending.values()) reject(new Error(why))
    this.#pending.clear()
  }
}
