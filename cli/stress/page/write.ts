import { arch, availableParallelism, platform } from 'node:os'
import { print } from '../../base/output.ts'
import type { StressRun } from '../stress.ts'
import { page } from './page.ts'
import { saveReport } from './save.ts'
import type { Compared } from './verdict-words.ts'

/**
 * Writes the report of these runs, and says on stderr where it is.
 * @param path of `reportPath`
 * @throws StoreIoError
 */
export function writeReport(path: string, runs: readonly Compared<StressRun>[]): void {
  const cores = availableParallelism()
  const where = `Node ${process.version}, ${platform()} ${arch()}, ${cores} cores`
  saveReport(path, page(runs, `Made by pslock stress, ${where}, ${new Date().toISOString().slice(0, 10)}.`))
  print(`the report is in ${path}\n`)
}
