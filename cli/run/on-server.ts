import { LockLostError, LockTimeoutError } from '../../src/errors.ts'
import { PgLock } from '../../src/postgres/lock/pg-lock.ts'
import { EXIT } from '../base/exit-codes.ts'
import { print } from '../base/output.ts'
import { type Ending, runCommand } from './command.ts'
import { GroupWitness } from './group-witness.ts'
import { IGNORING_SIGHUP, NO_NOTICE, notFree, type RunOptions } from './options.ts'
import { PASSED_ON, receiveSignals } from './signals.ts'
import { waitingNotice } from './waiting-notice.ts'

/** As in the file's case, see hold-and-run.ts; but a lock on a server can be lost. */
type ServerRunOptions = Omit<RunOptions, 'lockPath' | 'close'>

/**
 * Holds a `PgLock` while a command runs, and says how that ended. Once the lock is lost the command is told by SIGTERM, and what
 * it ends with is not what counts.
 * @throws TypeError for a wrong url, StoreUnavailableError, LockUnsupportedError
 */
export async function holdOnServerAndRun(
  url: string,
  words: readonly string[],
  options: ServerRunOptions,
): Promise<Ending> {
  const { mode, timeoutMs, quiet } = options
  await using lock = new PgLock(url)
  const notice = quiet ? NO_NOTICE : waitingNotice(lock)
  const passSignalsTo = receiveSignals(options, notice.stop)
  try {
    const held = await lock.acquire({ mode, timeoutMs }).finally(notice.stop)
    const program = options.nohup ? [...IGNORING_SIGHUP, ...words] : words
    using witness = new GroupWitness(PASSED_ON)
    await witness.isReady
    const descriptors = new Map(options.passFds.map((passed) => [passed, passed]))
    let isTold = false
    const lost = (error: unknown) => {
      if (!isTold) print(`pslock: ${(error as Error).message}\n`)
      isTold = true
    }
    const ending = await runCommand(program, { environment: {}, descriptors }, (child) => {
      passSignalsTo(child, witness)
      const end = () => {
        lost(held.signal.reason)
        print('pslock: the command is sent SIGTERM\n')
        child.kill('SIGTERM')
      }
      if (held.signal.aborted) end()
      else held.signal.addEventListener('abort', end, { once: true })
    })
    try {
      await held.release()
    } catch (error) {
      if (!(error instanceof LockLostError)) throw error
      lost(error)
    }
    return isTold ? { code: EXIT.lost } : ending
  } catch (error) {
    if (!(error instanceof LockTimeoutError)) throw error
    if (!quiet) print(`pslock: ${notFree(error)}\n`)
    return { code: options.conflictExitCode }
  }
}
