import { type Command, Option } from 'commander'
import { CorruptStoreError, harmless, LockTimeoutError } from '../../src/errors.ts'
import { DEFAULTS } from '../../src/lock/options.ts'
import { lockPathOption, seconds } from '../base/arguments.ts'
import { EXIT } from '../base/exit-codes.ts'
import { failed } from '../base/failed.ts'
import { print, writeOut } from '../base/output.ts'
import { isServerUrl } from '../base/server-url.ts'
import { KINDS, type Kind } from './kind.ts'
import type { PgFlags } from './pg-tools.ts'
import type { Report } from './report.ts'

/** What the commands take. */
export interface FileFlags {
  readonly store?: Kind
  /** In milliseconds. */
  readonly timeout: number
  readonly lockPath?: string
  readonly json?: true
}

const CODES = `  75   the lock was not free in time (--timeout)
  125  it failed otherwise: no such file or store, no permission, no server,
       disk full, or there is something already (--overwrite)
  2    wrong usage`

const KIND_NOTE = `
Whether it is a file of NeDB or of lowdb shows in it; --store says so where it
does not. Files of NeDB with serialization hooks can only be dumped and restored
by db.dump() and db.restore().`

const SERVER_NOTE = `
A store on a server (PostgreSQL) is postgres://user@host:port/database#name. It is
read at one moment, and replaced in one transaction. Leave the password out, since
everybody can see the arguments of a process: it may be in PGPASSWORD or in
~/.pgpass.`

/** `pslock dump`, `restore`, `check`, `repair`: a data file as a whole, in use or not. */
export function addFileCommands(root: Command): void {
  fileCommand(root, 'dump')
    .description('write a consistent copy of a store, while others use it')
    .argument('<to>', 'the copy: a new file')
    .option('--overwrite', 'replace a file that is there already')
    .option('--pg', 'all stores and locks of a database, by pg_dump')
    .addHelpText(
      'after',
      `${KIND_NOTE}
${SERVER_NOTE}

--pg runs pg_dump -Fc -n pslock --no-unlogged-table-data: give postgres://host/database
without a name. pg_dump must be as new as the server.

The copy appears under its name when it is whole and on the disk, or not at all.

Exit codes: 0 done
  1    the store is damaged: see pslock check
${CODES}`,
    )
    .action((file: string, to: string, flags: PgFlags & { pg?: true }) =>
      end(flags, [file], async (run) => (flags.pg ? (await tools()).dump : run.dump)(file, to, flags)),
    )

  fileCommand(root, 'restore')
    .description('replace the content of a store by that of a dump, while others use it')
    .argument('<from>', 'the dump, or any other whole file of the same kind')
    .option('--pg', 'all stores and locks of a database, by pg_restore, from what dump --pg or pg_dump wrote')
    .option('--create', 'with --pg: into a new database of the name that it had (pg_restore --create)')
    .addHelpText(
      'after',
      `${KIND_NOTE}
${SERVER_NOTE}

--pg runs pg_restore --clean --if-exists --no-owner --single-transaction: all that is
in the schema pslock is replaced, or nothing where it fails. Processes that have a store
open read it anew. Let nobody hold a PgLock meanwhile.

The dump is looked at first. Processes that use the store see it at their next
call. The old content is in <file>.before-restore-<n> until the new one is on the
disk.

Exit codes: 0 done
  1    the dump is damaged; nothing was touched
${CODES}`,
    )
    .action((file: string, from: string, flags: PgFlags & { pg?: true }) =>
      end(flags, [file], async (run) =>
        (flags.pg ? (await tools()).restore : run.restore)(file, from, flags),
      ),
    )

  fileCommand(root, 'check')
    .description('say whether a data file is whole: what, where, how to mend')
    .addHelpText(
      'after',
      `${KIND_NOTE}
${SERVER_NOTE}

Changes nothing.

Exit codes: 0 it is whole
  1    something was found
${CODES}`,
    )
    .action((file: string, flags: FileFlags) => end(flags, [file], async (run) => run.check(file, flags)))

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
    .action((file: string, flags: FileFlags, command: Command) => {
      if (isServerUrl(file)) {
        command.error('error: repair is for files: of a store on a server pslock check says what to do')
      }
      return end(flags, [], async () => (await import('./actions.ts')).repair(file, flags))
    })

  addCopyCommand(root)
}

function addCopyCommand(root: Command): void {
  const command = root
    .command('copy')
    .description('copy a store: from a file to a server, back, or from one to another')
    .argument('<from>', 'the data file, or postgres://host/database#name')
    .argument('<to>', 'the same, of the copy')
  withOptions(command)
    .option('--overwrite', 'replace a store that is there already and has content')
    .addHelpText(
      'after',
      `${KIND_NOTE}
${SERVER_NOTE}

The copy is as the store was at one moment. It is there when it is whole, or not
at all, whatever happens meanwhile. Processes that have the target open see it at
their next call. --timeout is also how long a server that is away is waited for.

Exit codes: 0 done
  1    the store is damaged: see pslock check; nothing was copied
${CODES}`,
    )
    .action((from: string, to: string, flags: FileFlags & { overwrite?: true }) =>
      end(flags, [from, to], async (run) => run.copy(from, to, flags)),
    )
}

function fileCommand(root: Command, name: string): Command {
  const on = name === 'repair' ? '' : ', or postgres://host/database#name'
  return withOptions(root.command(name).argument('<file>', `the data file${on}`))
}

function withOptions(command: Command): Command {
  return command
    .addOption(new Option('--store <name>', 'what kind of file it is').choices(KINDS))
    .addOption(
      new Option('-w, --timeout <seconds>', 'longest wait for the lock; 0: do not wait')
        .argParser(seconds(0))
        .default(DEFAULTS.timeoutMs, String(DEFAULTS.timeoutMs / 1000)),
    )
    .addOption(lockPathOption())
    .option('--json', 'as one JSON object')
}

const tools = () => import('./pg-tools.ts')

type Actions = typeof import('./server-actions.ts')

/** Prints the report, and has the process end with the code for it. @param stores what decides which actions those are */
async function end(
  flags: FileFlags,
  stores: readonly string[],
  run: (actions: Actions) => Promise<Report>,
): Promise<void> {
  try {
    const actions = stores.some(isServerUrl) ? import('./server-actions.ts') : import('./actions.ts')
    const { text, found, ...report } = await run(await actions)
    writeOut(`${flags.json ? JSON.stringify({ found, ...report }, undefined, 2) : text}\n`)
    process.exitCode = found ? EXIT.damaged : EXIT.clean
  } catch (error) {
    if (error instanceof TypeError && stores.some(isServerUrl)) {
      print(`pslock: ${harmless(error.message)}\n`)
      process.exitCode = EXIT.usage
      return
    }
    if (!(error instanceof CorruptStoreError || error instanceof LockTimeoutError)) return failed(error)
    print(`pslock: ${error.message}\n`)
    process.exitCode = error instanceof LockTimeoutError ? EXIT.conflict : EXIT.damaged
  }
}
