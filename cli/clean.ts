import { type Dirent, readdirSync } from 'node:fs'
import { join } from 'node:path'
import type { Command } from 'commander'
import { type Removal, removeLockFile } from '../src/lock/lock-removal.ts'
import { EXIT } from './base/exit-codes.ts'
import { failed } from './base/failed.ts'
import { isInGitFolder } from './base/git-folder.ts'
import { print, writeOut } from './base/output.ts'

interface CleanFlags {
  readonly recursive?: true
  readonly dryRun?: true
  readonly empty?: true
  readonly json?: true
}

/** What was done, or with `dryRun` would be. */
export interface Cleaned {
  readonly folder: string
  readonly dryRun: boolean
  readonly removed: readonly string[]
  /** How many are held, or waited for. */
  readonly used: number
  /** How many are empty, so that nobody can say whose they are. */
  readonly empty: number
  /** How many others end in `.lock`. */
  readonly foreign: number
  readonly failed: readonly { readonly path: string; readonly message: string }[]
}

const NOTES = `
A lock file is <file>.lock, and <file>.lock.turn beside it where somebody has
waited. pslock leaves them behind since to remove one needs care: this is done
under the lock itself, so that processes that open one at that moment notice and
make a new one. Programs that lock it without pslock (flock(1), Python) do not
notice: let none of them begin meanwhile.

Only files that pslock has marked as its own are removed. Those of earlier
versions are empty, as many other programs' are: --empty removes empty ones too.
Folders of git are left out, and symbolic links are not followed.

Exit codes: 0 done, also where some are in use
  125  no such folder, or some could not be removed
  2    wrong usage`

/** `pslock clean`: removes lock files that nobody uses. */
export function addCleanCommand(root: Command): void {
  root
    .command('clean')
    .description('remove the lock files of a folder that nobody holds or waits for')
    .argument('<folder>', 'where they are')
    .option('-r, --recursive', 'in the folders below, too')
    .option('-n, --dry-run', 'only say which')
    .option('--empty', 'empty ones, too: nothing tells whose they are')
    .option('--json', 'as one JSON object')
    .addHelpText('after', NOTES)
    .action(runClean)
}

function runClean(folder: string, flags: CleanFlags): void {
  try {
    const cleaned = clean(folder, flags)
    writeOut(`${flags.json ? JSON.stringify(cleaned, undefined, 2) : cleanedText(cleaned)}\n`)
    for (const { path, message } of cleaned.failed) print(`pslock: ${path}: ${message}\n`)
    process.exitCode = cleaned.failed.length > 0 ? EXIT.failed : EXIT.clean
  } catch (error) {
    failed(error)
  }
}

function clean(folder: string, flags: CleanFlags): Cleaned {
  const { recursive = false, dryRun = false, empty = false } = flags
  const removed: string[] = []
  const failures: { path: string; message: string }[] = []
  const counts: Record<Removal, number> = { removed: 0, used: 0, empty: 0, foreign: 0, missing: 0 }
  for (const path of lockFilesIn(folder, recursive, failures)) {
    try {
      const removal = removeLockFile(path, { empty, dryRun })
      counts[removal]++
      if (removal === 'removed') removed.push(path)
    } catch (error) {
      failures.push({ path, message: error instanceof Error ? error.message : String(error) })
    }
  }
  const { used, foreign } = counts
  return { folder, dryRun, removed, used, empty: counts.empty, foreign, failed: failures }
}

/** @param failures gets the folders below that cannot be read */
function* lockFilesIn(
  folder: string,
  recursive: boolean,
  failures: { path: string; message: string }[],
): Generator<string> {
  if (isInGitFolder(folder)) {
    failures.push({ path: folder, message: 'it is a folder of git, whose own locks look alike' })
    return
  }
  for (const entry of readdirSync(folder, { withFileTypes: true })) {
    const path = join(folder, entry.name)
    if (isLockFile(entry)) yield path
    else if (recursive && entry.isDirectory() && !isInGitFolder(path)) {
      try {
        yield* lockFilesIn(path, recursive, failures)
      } catch (error) {
        failures.push({ path, message: error instanceof Error ? error.message : String(error) })
      }
    }
  }
}

function isLockFile(entry: Dirent): boolean {
  return entry.isFile() && entry.name.endsWith('.lock')
}

function cleanedText({ dryRun, removed, used, empty, foreign }: Cleaned): string {
  const verb = dryRun ? 'would remove' : 'removed'
  const others = [
    used > 0 && `${used} in use`,
    empty > 0 && `${empty} empty, which may be anybody's (--empty)`,
    foreign > 0 && `${foreign} not of pslock`,
  ].filter((text) => text !== false)
  const lines = dryRun ? removed.map((path) => `would remove ${path}`) : []
  const left = others.length === 0 ? '' : `; left alone: ${others.join(', ')}`
  const what = removed.length === 1 ? '1 lock file' : `${removed.length} lock files`
  return [...lines, `${verb} ${what}${left}`].join('\n')
}
