import type { ChildProcess } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { constants } from 'node:os'
import { basename } from 'node:path'
import { isatty } from 'node:tty'
import type { GroupWitness } from './group-witness.ts'

/**
 * What is passed on to the command. Not SIGTSTP: Ctrl-Z stops the command by itself, and must stop us too, so that the
 * shell has its terminal back (the lock stays held). SIGKILL and SIGSTOP cannot be caught.
 */
export const PASSED_ON = [
  'SIGHUP',
  'SIGINT',
  'SIGQUIT',
  'SIGTERM',
  'SIGUSR1',
  'SIGUSR2',
  'SIGALRM',
  'SIGCONT',
  'SIGWINCH',
] as const

/** These the terminal itself sends to everybody in the foreground, the command included. */
const FROM_THE_TERMINAL: ReadonlySet<string> = new Set(['SIGINT', 'SIGQUIT', 'SIGWINCH'])

/** These do not end a process that does nothing about them. */
const HARMLESS: ReadonlySet<string> = new Set(['SIGCONT', 'SIGWINCH'])

/** To end by one of these would write a core file of pslock over the command's own. */
const DUMPS_CORE: ReadonlySet<string> = new Set([
  'SIGQUIT',
  'SIGILL',
  'SIGTRAP',
  'SIGABRT',
  'SIGBUS',
  'SIGFPE',
  'SIGSEGV',
  'SIGXCPU',
  'SIGXFSZ',
  'SIGSYS',
])

/**
 * From now on these signals do not end this process: until there is a command they end its wait, then they are passed on.
 * @param stopWaiting called before such an end
 * @returns tells which command it is
 */
export function receiveSignals(
  { nohup }: { readonly nohup: boolean },
  stopWaiting: () => void,
): (child: ChildProcess, witness: GroupWitness) => void {
  let receive = (signal: NodeJS.Signals) => {
    if (HARMLESS.has(signal)) return
    // Whatever we wait for, or have just got, is taken back.
    stopWaiting()
    endBy(signal)
  }
  for (const one of PASSED_ON) {
    process.on(one, (signal) => {
      if (signal !== 'SIGHUP' || !nohup) receive(signal)
    })
  }
  return (child, witness) => {
    receive = (signal) => void relay(child, signal, witness)
  }
}

/**
 * Sends the command what we received. Ctrl-C in a terminal has reached it already, and programs take a second one for
 * impatience (they give up cleaning up), so what the terminal sends to its foreground is not sent twice, nor what was sent
 * to our whole group.
 */
async function relay(child: ChildProcess, signal: NodeJS.Signals, witness: GroupWitness): Promise<void> {
  if (FROM_THE_TERMINAL.has(signal) && isInForeground()) return
  if (await witness.hasSeen(signal)) return
  child.kill(signal)
}

/**
 * Whether we were started with SIGHUP ignored, by nohup(1) or `trap '' HUP`. Node has taken that back before any of our
 * code runs and tells nobody, so this is what shows it: the shell's note of what it has started, and the parent's own
 * state on Linux. To be sure there is --nohup.
 */
export function isStartedByNohup(): boolean {
  if (basename(process.env._ ?? '') === 'nohup') return true
  try {
    const status = readFileSync(`/proc/${process.ppid}/status`, 'utf8')
    const ignored = /^SigIgn:\s*([0-9a-f]+)$/m.exec(status)?.[1]
    return (BigInt(`0x${ignored ?? 0}`) & (1n << BigInt(constants.signals.SIGHUP - 1))) !== 0n
  } catch {
    return false
  }
}

/**
 * Ends this process by a signal, so that a shell loop round it stops at Ctrl-C as it should. Where that is not possible,
 * or would dump a core, it ends with the exit code by which shells show it (128 + n), as soon as nothing is left to do.
 */
export function endBy(signal: NodeJS.Signals): void {
  process.exitCode = 128 + constants.signals[signal]
  if (DUMPS_CORE.has(signal)) process.exit()
  process.removeAllListeners(signal)
  process.kill(process.pid, signal)
}

function isInForeground(): boolean {
  try {
    // proc(5): pid (name) state ppid pgrp session tty_nr tpgid; the name may hold anything, so count from its end.
    const stat = readFileSync('/proc/self/stat', 'utf8')
    const [, , group, , , foreground] = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
    return group === foreground
  } catch {
    // No /proc on macOS: a job in the background seldom has a terminal on all three.
    return isatty(0) && isatty(1) && isatty(2)
  }
}
