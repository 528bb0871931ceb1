import { hostname } from 'node:os'
import { basename } from 'node:path'
import { durationMs, requireOneOf, show } from '../../arguments.ts'
import { harmless } from '../../errors.ts'
import { DEFAULTS } from '../../lock/options.ts'
import type { Durability, ServerOptions, StoreOptions } from '../../store/options.ts'

/** Longer names would not fit into every message and every listing. In characters. */
const LONGEST_NAME = 200

/** What PostgreSQL keeps of an application's name (NAMEDATALEN - 1). In bytes. */
const APPLICATION_BYTES = 63

/**
 * A name in a database of PostgreSQL: that of a store or of a lock. What is shown of it, in messages, by `util.inspect` or as
 * JSON, has neither user nor password.
 */
export class Address {
  /** Without user, password and options, such as `postgres://db.example.com:5432/app#jobs`. */
  readonly shown: string
  readonly name: string
  /** The same for all that mean the same name at the same address of a server, and only for them. */
  readonly key: string
  readonly #url: string

  private constructor(url: string, shown: string, name: string, key: string) {
    this.#url = url
    this.shown = shown
    this.name = name
    this.key = key
  }

  /** With the password: for whoever connects. */
  get secretUrl(): string {
    return this.#url
  }

  /**
   * @param url `postgres://user:password@host:port/database?options#name`, with whatever options `pg` takes
   * @param name instead of the one at the end of the url
   * @throws TypeError which does not show the url, since there may be a password in it
   */
  static of(url: unknown, name?: unknown): Address {
    const parsed = parse(url instanceof URL ? url.href : url)
    const fragment = parsed.hash === '' ? undefined : decoded(parsed.hash.slice(1))
    parsed.hash = ''
    if (name !== undefined && fragment !== undefined && name !== fragment) {
      throw new TypeError(
        `the name is given twice, as ${show(name)} and at the end of the url as ${show(fragment)}: leave one out`,
      )
    }
    const own = name ?? fragment
    if (typeof own !== 'string' || own === '' || own.length > LONGEST_NAME || /\0|\p{Cs}/u.test(own)) {
      throw new TypeError(
        `name must be a non-empty text of at most ${LONGEST_NAME} characters: give it as an option, or at the end of the ` +
          `url as in postgres://…/database#name, got ${show(own)}`,
      )
    }
    const { host, port, database } = targetOf(parsed)
    const shown = `postgres://${host}${port && `:${port}`}/${encodeURI(database)}#${own}`
    const key = JSON.stringify([host, Number(port || 5432), database, own])
    return new Address(parsed.href, harmless(shown), own, key)
  }
}

/** Where a url leads, as `pg` takes it: with its options, and the environment for what is not in it. */
function targetOf(url: URL): { host: string; port: string; database: string } {
  const { env } = process
  const given = url.searchParams
  const login = process.platform === 'win32' ? env.USERNAME : env.USER
  const user = given.get('user') || decoded(url.username) || env.PGUSER || login || ''
  return {
    host: given.get('host') || decoded(url.hostname) || env.PGHOST || 'localhost',
    port: given.get('port') || url.port || env.PGPORT || '',
    database: decoded(url.pathname.slice(1), decodeURI) || env.PGDATABASE || user,
  }
}

/** Whether a text is the URL of a database of PostgreSQL. */
function isPostgresUrl(text: unknown): text is string {
  return typeof text === 'string' && /^postgres(?:ql)?:\/\//i.test(text)
}

function parse(url: unknown): URL {
  if (!isPostgresUrl(url)) {
    const got =
      typeof url === 'string'
        ? 'another text, which is not shown as there may be a password in it'
        : show(url)
    throw new TypeError(
      `url must begin with postgres://, as in postgres://user:password@host/database, got ${got}`,
    )
  }
  try {
    return new URL(url)
  } catch {
    throw new TypeError(
      'url is no valid URL. It is not shown, as there may be a password in it. Characters of a password that mean ' +
        'something in a URL (such as # / ? @) must be written as encodeURIComponent() does.',
    )
  }
}

function decoded(text: string, decode = decodeURIComponent): string {
  try {
    return decode(text)
  } catch {
    return text
  }
}

/** How this process is called in the server's own listings: `pslock <pid> <host> <program>`. */
export function applicationName(): string {
  const program = basename(process.argv[1] ?? process.title)
  const whole = Buffer.from(`pslock ${process.pid} ${hostname()} ${program}`.replace(/[^\x20-\x7e]/g, '?'))
  return whole.subarray(0, APPLICATION_BYTES).toString()
}

/** What `applicationName` says; undefined where another program is called so. */
export function readApplicationName(
  name: string,
): { readonly pid: number; readonly host: string; readonly command: string } | undefined {
  const [, pid, host = '', command = ''] = /^pslock (\d+) (\S*) ?(.*)$/.exec(name) ?? []
  return pid === undefined ? undefined : { pid: Number(pid), host, command }
}

/** The checked options of a store on a server. */
export interface OpenServerOptions {
  readonly address: Address
  /** What is shown of it. */
  readonly path: string
  /** Of which family its adapter is: one store is not opened as two kinds. */
  readonly kind: string
  readonly timeoutMs: number
  readonly durability: Durability
  readonly staleMs: number
}

/** @throws TypeError that shows the wrong value */
export function openServerOptions(kind: string, options: StoreOptions & ServerOptions): OpenServerOptions {
  const { durability = 'disk', timeoutMs, staleMs, url, name } = options
  requireOneOf(durability, 'durability', ['process', 'disk'])
  const address = Address.of(url, name)
  return {
    address,
    path: address.shown,
    kind,
    timeoutMs: durationMs(timeoutMs, 'timeoutMs', DEFAULTS.timeoutMs),
    durability,
    staleMs: durationMs(staleMs, 'staleMs', 0),
  }
}
