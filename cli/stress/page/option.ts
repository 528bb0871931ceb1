import type { Command } from 'commander'
import { failed } from '../../base/failed.ts'
import type { StressRun } from '../stress.ts'
import { reportPath } from './save.ts'
import type { Compared } from './verdict-words.ts'

/** Where `--report` goes. Ends the command with its usage code where nothing can be written, before an hour's work. */
export async function reportPathFor(given: string, command: Command): Promise<string> {
  try {
    return reportPath(given)
  } catch (error) {
    return command.error(`error: ${(error as Error).message}`)
  }
}

/** Writes the report. If that fails, the exit code says so, unless it has something worse to say already. */
export async function reported(path: string, runs: readonly Compared<StressRun>[]): Promise<void> {
  const { writeReport } = await import('./write.ts')
  const before = process.exitCode
  try {
    writeReport(path, runs)
  } catch (error) {
    failed(error)
    if (before) process.exitCode = before
  }
}
