import { type Command, Option } from 'commander'
import { CorruptStoreError, LockTimeoutError } from '../../src/errors.ts'
import { DEFAULTS } from '../../src/lock/options.ts'
import { lockPathOption, seconds } from '../base/arguments.ts'
import { EXIT } from '../base/exit-codes.ts'
import { failed } from '../base/failed.ts'
import { print, writeOut } from '../base/output.ts'
import { KINDS, type Kind } from './kind.ts'
import type { Report } from './report.ts'

/** What the four commands take. */
export interface FileFlags {
  readonly store?: Kind
  /** In milliseconds. */
  readonly timeout: number
  readonly lockPath?: string
  readonly json?: true
}

const CODES = `  75   the lock was not free in time (--timeout)
  125  it failed otherwise: no such file, no permission, disk full
  2    wrong usage`

const KIND_NOTE = `
Whether it is a file of NeDB or of lowdb shows in it; --store says so where it
does not. Files of NeDB with serialization hooks can only be dumped and restored
by db.dump() and db.restore().`

/** `pslock dump`, `restore`, `check`, `repair`: a data file as a whole, in use or not. */
export function addFileCommands(root: Command): void {
  fileCommand(root, 'dump')
    .description('write a consistent copy of a store, while others use it')
    .argument('<to>', 'the copy: a new file')
    .option('--overwrite', 'replace a file that is there already')
    .addHelpText(
      'after',
      `${KIND_NOTE}

The copy appears under its name when it is whole and on the disk, or not at all.

Exit codes: 0 done
  1    the store is damaged: see pslock check
${CODES}`,
    )
    .action((file: string, to: string, flags: FileFlags & { overwrite?: true }) =>
      end(flags, async (run) => run.dump(file, to, flags)),
    )

  fileCommand(root, 'restore')
    .description('replace the content of a store by that of a dump, while others use it')
    .argument('<from>', 'the dump, or any other whole file of the same kind')
    .addHelpText(
      'after',
      `${KIND_NOTE}

The dump is looked at first. Processes that use the store see it at their next
call. The old content is in <file>.before-restore-<n> until the new one is on the
disk.

Exit codes: 0 done
  1    the dump is damaged; nothing was touched
${CODES}`,
    )
    .action((file: string, from: string, flags: FileFlags) =>
      end(flags, async (run) => run.restore(file, from, flags)),
    )

  fileCommand(root, 'check')
    .description('say whether a data file is whole: what, where, how to mend')
    .addHelpText(
      'after',
      `${KIND_NOTE}

Changes nothing.

Exit codes: 0 it is whole
  1    something was found
${CODES}`,
    )
    .action((file: string, flags: FileFlags) => end(flags, async (run) => run.check(file, flags)))

  fileCommand(root, 'repair')
    .description('make a data file whole again; what is taken out is kept')
    .addHelpText(
      'after',
      `${KIND_NOTE}

What is taken out, and temp files that were left behind, are kept in
<file>.removed-<n>.

Exit codes: 0 it is whole now, or was before
  1    it cannot be mended: nothing was changed
${CODES}`,
    )
    .action((file: string, flags: FileFlags) => end(flags, async (run) => run.repair(file, flags)))
}

function fileCommand(root: Command, name: string): Command {
  return root
    .command(name)
    .argument('<file>', 'the data file')
    .addOption(new Option('--store <name>', 'what kind of file it is').choices(KINDS))
    .addOption(
      new Option('-w, --timeout <seconds>', 'longest wait for the lock; 0: do not wait')
        .argParser(seconds(0))
        .default(DEFAULTS.timeoutMs, String(DEFAULTS.timeoutMs / 1000)),
    )
    .addOption(lockPathOption())
    .option('--json', 'as one JSON object')
}

/** Prints the report, and has the process end with the code for it. */
async function end(
  flags: FileFlags,
  run: (actions: typeof import('./actions.ts')) => Promise<Report>,
): Promise<void> {
  try {
    const { text, found, ...report } = await run(await import('./actions.ts'))
    writeOut(`${flags.json ? JSON.stringify({ found, ...report }, undefined, 2) : text}\n`)
    process.exitCode = found ? EXIT.damaged : EXIT.clean
  } catch (error) {
    if (!(error instanceof CorruptStoreError || error instanceof LockTimeoutError)) return failed(error)
    print(`pslock: ${error.message}\n`)
    process.exitCode = error instanceof LockTimeoutError ? EXIT.conflict : EXIT.damaged
  }
}
