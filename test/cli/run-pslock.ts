import { type ChildProcess, type SpawnOptions, spawn } from 'node:child_process'
import { join } from 'node:path'
import { ROOT } from '../fixtures/code.ts'

/** The compiled command line, as users have it. */
export const PSLOCK = join(ROOT, 'dist/cli/pslock.cjs')

export interface Outcome {
  readonly code: number | null
  readonly signal: NodeJS.Signals | null
  readonly stdout: string
  readonly stderr: string
}

export interface Running {
  readonly child: ChildProcess
  readonly outcome: Promise<Outcome>
  /** What has come so far. */
  readonly output: { stdout: string; stderr: string }
}

const left = new Set<ChildProcess>()

/** For the tests of the surrounding `describe`: what a failed one has left running would keep mocha alive. */
export function killWhatIsLeft(): void {
  afterEach(() => {
    for (const child of left) child.kill('SIGKILL')
  })
}

/** Starts any program, and collects what it writes to pipes. */
export function start(program: string, args: readonly string[], options: SpawnOptions = {}): Running {
  const child = spawn(program, args, {
    stdio: ['ignore', 'pipe', 'pipe'],
    ...options,
    env: { ...process.env, NO_COLOR: '1', NODE_OPTIONS: '', ...options.env },
  })
  const output = { stdout: '', stderr: '' }
  left.add(child)
  child.once('close', () => left.delete(child))
  child.stdout?.setEncoding('utf8').on('data', (text: string) => {
    output.stdout += text
  })
  child.stderr?.setEncoding('utf8').on('data', (text: string) => {
    output.stderr += text
  })
  const outcome = new Promise<Outcome>((resolve, reject) => {
    child.once('error', reject)
    child.once('close', (code, signal) => resolve({ code, signal, ...output }))
  })
  return { child, outcome, output }
}

/** The command line in a process of its own. */
export function startPslock(...args: string[]): Running {
  return start(process.execPath, [PSLOCK, ...args])
}

export function pslock(...args: string[]): Promise<Outcome> {
  return startPslock(...args).outcome
}

/** What was printed for people but for the progress, which comes with whatever takes over a second. */
export function withoutProgress(stderr: string): string {
  return stderr.replaceAll(/^pslock: (copying|checking|dumping|restoring|repairing): .*\n/gm, '')
}
