import { type ChildProcess, type StdioOptions, spawn } from 'node:child_process'
import { errnoOf, harmless } from '../../src/errors.ts'
import { EXIT } from '../base/exit-codes.ts'
import { print } from '../base/output.ts'

/** How the command ended, or why it could not begin: as an exit code, or by a signal. */
export type Ending = { readonly code: number } | { readonly signal: NodeJS.Signals }

/** What the command gets from us besides stdin, stdout and stderr. Node opens every file O_CLOEXEC, so nothing else. */
export interface Inheritance {
  readonly environment: Record<string, string>
  /** Descriptors of ours, by the number that each has in the command; from 3 on. */
  readonly descriptors: ReadonlyMap<number, number>
}

/**
 * Starts the command.
 * @param onStarted called when the process is there
 */
export async function runCommand(
  [name = '', ...args]: readonly string[],
  { environment, descriptors }: Inheritance,
  onStarted: (child: ChildProcess) => void,
): Promise<Ending> {
  let child: ChildProcess
  try {
    child = spawn(name, args, { stdio: stdioOf(descriptors), env: { ...process.env, ...environment } })
  } catch (error) {
    // An empty name, or an argument list that is too long.
    return notStarted(name, error)
  }
  if (child.pid !== undefined) onStarted(child)
  return new Promise((resolve) => {
    child.once('exit', (code, signal) => resolve(signal === null ? { code: code ?? 0 } : { signal }))
    child.on('error', (error) => {
      if (child.pid === undefined) resolve(notStarted(name, error))
      else print(`pslock: cannot pass a signal on to ${harmless(name)} (${child.pid}): ${error.message}\n`)
    })
  })
}

/** In between nothing is open: libuv opens /dev/null for what is ignored below 3 only. */
function stdioOf(descriptors: ReadonlyMap<number, number>): StdioOptions {
  const last = Math.max(2, ...descriptors.keys())
  return Array.from({ length: last + 1 }, (_, fd) => (fd < 3 ? 'inherit' : (descriptors.get(fd) ?? 'ignore')))
}

/** The codes are those of shells. */
function notStarted(name: string, error: unknown): Ending {
  const code = errnoOf(error)
  if (code === 'ENOENT' || name === '') {
    print(`pslock: ${harmless(name) || '(an empty name)'}: command not found\n`)
    return { code: EXIT.notFound }
  }
  const why = code === 'EACCES' ? 'permission denied' : error instanceof Error ? error.message : String(error)
  print(`pslock: ${harmless(`${name}: cannot be executed: ${why}`)}\n`)
  return { code: EXIT.notExecutable }
}
