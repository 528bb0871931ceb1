import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, statSync } from 'node:fs'
import { resolve } from 'node:path'
import type { Readable } from 'node:stream'
import { promisify } from 'node:util'
import { errnoOf, harmless } from '../../src/errors.ts'
import { closeLocked } from '../../src/os/flock.ts'
import { replaceFile, secretTemp } from '../../src/os/replace.ts'
import { Address } from '../../src/postgres/server/url.ts'
import { keptNumbers, renewNumbers, serverVersion } from '../../src/postgres/whole/whole-database.ts'
import { harmlessLines, print } from '../base/output.ts'
import type { FileFlags } from './commands.ts'
import { Progress } from './progress.ts'
import type { Report } from './report.ts'

/** All stores and locks of a database, by the server's own pg_dump and pg_restore. */

export interface PgFlags extends FileFlags {
  readonly overwrite?: true
  readonly create?: true
}

/** How often a restore is tried that meets others who write. */
const TRIES = 10

/** Stands for the name in messages: these are about all of them. */
const ALL = 'pslock'

/** @throws TypeError for a wrong url, or one with a name */
function addressOf(url: string, instead: string): Address {
  if (url.includes('#')) {
    throw new TypeError(
      `--pg is about all stores and locks of a database, since pg_dump cannot leave out rows: leave #... out. For one store: ${instead}`,
    )
  }
  return Address.of(url, ALL)
}

export async function dump(url: string, to: string, { timeout, overwrite }: PgFlags): Promise<Report> {
  const address = addressOf(url, 'pslock dump postgres://host/database#name <to>')
  const target = resolve(to)
  if (!overwrite && existsSync(target)) throw new Error(`${to} is there already. To replace it: --overwrite`)
  using progress = new Progress('dumping')
  await requireProgram('pg_dump', await serverVersion(address, timeout))
  progress.at('pg_dump is at work')
  const args = ['--format=custom', '--schema=pslock', '--no-unlogged-table-data', '--no-password']
  const child = start('pg_dump', args, address, ['ignore', 'pipe', 'inherit'])
  const how = { temp: secretTemp(target), newMode: 0o600, durable: true, overwrite: overwrite === true }
  try {
    closeLocked(await replaceFile(target, outputOf(child), how), target)
  } finally {
    child.kill()
  }
  const { size: bytes } = statSync(target)
  return { text: harmless(`${to}: ${bytes} bytes`), found: false, file: to, bytes }
}

async function* outputOf(child: ChildProcess): AsyncGenerator<Buffer, void, undefined> {
  const ended = endOf('pg_dump', child)
  // It is awaited in the end.
  ended.catch(() => {})
  yield* child.stdout as Readable
  await ended
}

export async function restore(url: string, from: string, { timeout, create }: PgFlags): Promise<Report> {
  const address = addressOf(url, 'pslock restore postgres://host/database#name <dump>')
  statSync(from)
  using progress = new Progress('restoring')
  await requireProgram('pg_restore', await serverVersion(address, timeout))
  const before = create ? undefined : await keptNumbers(address, timeout)
  progress.at('pg_restore is at work')
  const args = ['--no-owner', '--exit-on-error', '--no-password', `--dbname=${databaseOf(address)}`]
  // In one transaction, so that nothing is changed where it fails; no database is made in one.
  args.push(...(create ? ['--create'] : ['--clean', '--if-exists', '--single-transaction']), resolve(from))
  await restored(address, args)
  if (before) await renewNumbers(address, timeout, before)
  const shown = address.shown.replace(/#.*$/, '')
  return { text: `${shown}: restored`, found: false, file: shown, from }
}

/** Again where it was in the way of somebody who writes just then, and they in its way: nothing was changed. */
async function restored(address: Address, args: readonly string[]): Promise<void> {
  for (let tries = 1; ; tries++) {
    const child = start('pg_restore', args, address, ['ignore', 'inherit', 'pipe'])
    let words = ''
    child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      words += text
    })
    try {
      return await endOf('pg_restore', child, 'close')
    } catch (error) {
      if (/deadlock detected/.test(words) && tries < TRIES) words = ''
      else throw error
    } finally {
      print(harmlessLines(words))
    }
  }
}

/** For libpq, to which a name with `=` would be a list of options. */
function databaseOf({ secretUrl }: Address): string {
  const name = decodeURIComponent(new URL(secretUrl).pathname.slice(1))
  return `dbname='${name.replace(/[\\']/g, '\\$&')}'`
}

function start(
  program: string,
  args: readonly string[],
  address: Address,
  stdio: ('ignore' | 'pipe' | 'inherit')[],
): ChildProcess {
  // By the environment: everybody can see the arguments of a process.
  return spawn(program, args, { stdio, env: { ...process.env, ...environmentOf(address) } })
}

/** What of the url libpq reads from its environment. */
const IN_ENVIRONMENT: Readonly<Record<string, string>> = {
  host: 'PGHOST',
  port: 'PGPORT',
  user: 'PGUSER',
  password: 'PGPASSWORD',
  sslmode: 'PGSSLMODE',
  sslrootcert: 'PGSSLROOTCERT',
  sslcert: 'PGSSLCERT',
  sslkey: 'PGSSLKEY',
  options: 'PGOPTIONS',
}

function environmentOf({ secretUrl }: Address): Record<string, string> {
  const { hostname, port, username, password, pathname, searchParams } = new URL(secretUrl)
  const parts = { host: hostname.replace(/^\[|\]$/g, ''), port, user: username, password }
  const given = Object.entries(parts).map(([name, value]) => [name, decodeURIComponent(value)] as const)
  const environment: Record<string, string> = {
    PGDATABASE: decodeURIComponent(pathname.slice(1)),
    PGAPPNAME: 'pslock',
  }
  for (const [name, value] of [...given, ...searchParams]) {
    const variable = IN_ENVIRONMENT[name]
    if (variable !== undefined && value !== '') environment[variable] = value
  }
  return environment
}

/** @throws where it is not installed, or too old for the server */
async function requireProgram(program: string, server: number): Promise<void> {
  const { stdout } = await promisify(execFile)(program, ['--version']).catch((error) => {
    throw notStarted(program, error)
  })
  const version = Number(/\d+/.exec(stdout.replace(/^\S+/, ''))?.[0])
  if (program !== 'pg_dump' || version >= server) return
  throw new Error(
    `${program} is of PostgreSQL ${version}, and the server is ${server}: it takes one that is as new as the server. Install ` +
      `it, or put the folder of the newer one first in PATH.`,
  )
}

function notStarted(program: string, error: unknown): unknown {
  if (errnoOf(error) !== 'ENOENT') return error
  return new Error(
    `${program} is not installed, or in no folder of PATH: it comes with the clients of PostgreSQL (Debian: postgresql-client). ` +
      'Without it there is pslock dump postgres://host/database#name for one store.',
  )
}

async function endOf(program: string, child: ChildProcess, event: 'exit' | 'close' = 'exit'): Promise<void> {
  const [code, signal] = await once(child, event).catch((error) => {
    throw notStarted(program, error)
  })
  if (code === 0) return
  throw new Error(
    `${program} has failed (${signal ?? `exit code ${code}`}): what it said is above. Nothing was changed.`,
  )
}
