import { realpathSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { basename, dirname, join, resolve } from 'node:path'
import { StoreIoError } from '../../../src/errors.ts'
import { storeFailure } from '../../../src/os/replace.ts'

/**
 * Where a report is to be, as an absolute path; links are followed.
 * @throws StoreIoError if no file can be there: a folder or a device is, or the folder for it is missing
 */
export function reportPath(given: string): string {
  try {
    const there = statSync(given, { throwIfNoEntry: false })
    if (there?.isFile()) return realpathSync(given)
    if (!there) return join(realpathSync(dirname(resolve(given))), basename(given))
  } catch (error) {
    throw storeFailure(given, 'write the report to', error)
  }
  throw new StoreIoError(
    `cannot write the report to ${given}: it is no file. Name a file, such as report.html.`,
    {
      path: given,
    },
  )
}

/**
 * Puts the report in its place as a whole: temp file and rename, so that nobody opens half of it.
 * @param path of `reportPath`
 * @throws StoreIoError
 */
export function saveReport(path: string, text: string): void {
  const temp = `${path}.${process.pid}.tmp`
  try {
    writeFileSync(temp, text, { flag: 'wx' })
    renameSync(temp, path)
  } catch (error) {
    rmSync(temp, { force: true })
    throw storeFailure(path, 'write the report to', error)
  }
}
