import { spawnSync } from 'node:child_process'
import { PSLOCK, type Running, start } from './run-pslock.ts'

/** Skips the tests of the surrounding `describe` where there is no pseudo-terminal to be had. */
export function needsPseudoTerminal(): void {
  before(function () {
    const { stdout } = spawnSync('script', ['--version'], { encoding: 'utf8' })
    if (stdout?.includes('util-linux')) return
    console.log('        skipped: there is no script(1) of util-linux here')
    this.skip()
  })
}

interface Terminal extends Running {
  /** Everything on the terminal so far, escape sequences included. */
  shown(): string
  /** Presses keys. */
  type(keys: string): void
}

/** pslock as the foreground job of a terminal of its own, that many columns wide. */
export function pslockInTerminal(
  args: readonly string[],
  { columns = 200, env = {} }: { columns?: number; env?: NodeJS.ProcessEnv } = {},
): Terminal {
  const command = [process.execPath, PSLOCK, ...args].map(quoted).join(' ')
  const running = start('script', ['-qec', `stty cols ${columns} rows 24; exec ${command}`, '/dev/null'], {
    stdio: ['pipe', 'pipe', 'pipe'],
    detached: true,
    env: { SHELL: '/bin/sh', TERM: 'xterm', ...env },
  })
  return {
    ...running,
    shown: () => running.output.stdout,
    type: (keys) => running.child.stdin?.write(keys),
  }
}

/** As one word of a shell. */
function quoted(word: string): string {
  return `'${word.replaceAll("'", "'\\''")}'`
}
