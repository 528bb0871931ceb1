import { type ChildProcess, execFile, execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import {
  closeSync,
  existsSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  realpathSync,
  writeFileSync,
} from 'node:fs'
import { chown, rm } from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'
import { Client } from 'pg'

interface ServerOptions {
  /** For tests that stop or crash the server: they are skipped where a running one was given by PSLOCK_TEST_PG. */
  readonly own?: boolean
  /** Then it wants this password (scram-sha-256), else none. Only where the server is our own. */
  readonly password?: string
  /** More lines of postgresql.conf. Only where the server is our own. */
  readonly settings?: Readonly<Record<string, string>>
}

const SETTINGS = {
  listen_addresses: '127.0.0.1',
  fsync: 'on',
  shared_buffers: '32MB',
  max_connections: '200',
  autovacuum: 'on',
  // In ps one sees whose it is.
  cluster_name: `pslock-test-${process.pid}`,
}

const READY_MS = 20_000

/**
 * Makes the folder of the server, waits until its standard input ends, which it does however the tests end, and leaves
 * nothing behind. It belongs to the user of the server. A stopped server takes no signal but this one; it ends its
 * children itself, after 5 s also those that are stopped.
 */
const WATCHDOG = `
folder=$1 initdb=$3; shift 3
"$initdb" -D "$folder/data" "$@" >"$folder/initdb.log" 2>&1
echo $?
cat >/dev/null
command_of() { ps -ww -p "$1" -o args= 2>/dev/null || tr '\\0' ' ' <"/proc/$1/cmdline"; } 2>/dev/null
is_ours() { case "$(command_of "$1")" in *"$folder/data"*) true;; *) false;; esac; }
# A server that has only just been started writes the file of its id a moment later.
for try in 1 2; do
  pid=$(head -n 1 "$folder/data/postmaster.pid" 2>/dev/null)
  memory=$(sed -n '7s/.* //p' "$folder/data/postmaster.pid" 2>/dev/null)
  if [ -n "$pid" ] && is_ours "$pid"; then
    kill -QUIT "$pid"; kill -CONT "$pid"
    waited=0
    while is_ours "$pid" && [ "$waited" -lt 160 ]; do sleep 0.05; waited=$((waited + 1)); done
    is_ours "$pid" && kill -KILL "$pid"
  fi
  [ -z "$memory" ] || ipcrm -m "$memory" 2>/dev/null
  rm -rf "$folder"
  [ -n "$pid" ] || sleep 0.2
done
`

/** The folder with the programs of the newest server that is installed here. */
function programs(): string | undefined {
  const debian = '/usr/lib/postgresql'
  const versions = existsSync(debian) ? readdirSync(debian).sort((a, b) => Number(b) - Number(a)) : []
  const folders = [
    ...versions.map((version) => join(debian, version, 'bin')),
    ...(process.env.PATH ?? '').split(delimiter),
  ]
  try {
    folders.unshift(execFileSync('pg_config', ['--bindir'], { encoding: 'utf8', stdio: 'pipe' }).trim())
  } catch {
    // It comes with the headers only.
  }
  return folders.find((folder) => existsSync(join(folder, 'initdb')) && existsSync(join(folder, 'postgres')))
}

/** Who servers are started as, which refuse to run as root. */
export function unprivileged(): { uid: number; gid: number } | undefined {
  if (process.getuid?.() !== 0) return undefined
  const lines = readFileSync('/etc/passwd', 'utf8').split('\n')
  const line = ['postgres', 'nobody']
    .map((name) => lines.find((one) => one.startsWith(`${name}:`)))
    .find(Boolean)
  const [, , uid, gid] = line?.split(':') ?? []
  return uid === undefined ? undefined : { uid: Number(uid), gid: Number(gid) }
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as { port: number }
  server.close()
  await once(server, 'close')
  return port
}

const run = promisify(execFile)

/** The ids of the processes whose parent this is. */
async function childrenOf(pid: number): Promise<number[]> {
  if (existsSync('/proc/self/stat')) {
    return readdirSync('/proc')
      .filter((name) => /^\d+$/.test(name))
      .map(Number)
      .filter((one) => parentOf(one) === pid)
  }
  const { stdout } = await run('ps', ['-axo', 'pid=,ppid='])
  const pairs = stdout.split('\n').map((line) => line.trim().split(/\s+/).map(Number))
  return pairs.filter(([, parent]) => parent === pid).map(([one]) => one as number)
}

/** Undefined where it has ended. */
function parentOf(pid: number): number | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
    const [state, parent] = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
    return state === 'Z' ? undefined : Number(parent)
  } catch {
    return undefined
  }
}

function signalTo(pids: readonly number[], signal: NodeJS.Signals): void {
  for (const pid of pids) {
    try {
      process.kill(pid, signal)
    } catch {
      // It has ended meanwhile.
    }
  }
}

/** A real PostgreSQL, for tests only. */
export class TestServer {
  /** `postgres://postgres@127.0.0.1:5433/postgres` */
  readonly url: string
  /** Where its data, its log and its socket are; empty where it is not our own. */
  readonly folder: string
  readonly port: number
  readonly #settings: Readonly<Record<string, string>>
  readonly #programs: string
  readonly #end: () => Promise<void>
  readonly #databases: string[] = []
  #server: ChildProcess | undefined
  #counter = 0

  /** A running server is taken as it is. */
  static at(url: string): TestServer {
    return new TestServer({ url, port: Number(new URL(url).port || 5432) })
  }

  /** @param of the server that the new one is to be a standby of */
  static async start(
    bin: string,
    { password, settings }: ServerOptions,
    of?: TestServer,
  ): Promise<TestServer> {
    const folder = mkdtempSync(join(realpathSync(tmpdir()), 'pslock-test-pg-'))
    const user = unprivileged()
    if (user) await chown(folder, user.uid, user.gid)
    const auth = ['-A', password === undefined ? 'trust' : 'scram-sha-256']
    if (password !== undefined) {
      writeFileSync(join(folder, 'password'), password, { mode: 0o644 })
      auth.push(`--pwfile=${folder}/password`)
    }
    const initdb = of
      ? [join(bin, 'pg_basebackup'), '-d', of.url, '-R', '-X', 'stream', '-c', 'fast', '--no-sync']
      : [join(bin, 'initdb'), ...auth, '-E', 'UTF8', '--locale=C', '-U', 'postgres', '--no-sync']
    writeFileSync(join(folder, 'watchdog'), WATCHDOG)
    const watchdog = spawn('sh', [join(folder, 'watchdog'), folder, `of-${process.pid}`, ...initdb], {
      ...user,
      cwd: '/',
      // Ctrl-C is for the tests; it ends when they have.
      detached: true,
      stdio: ['pipe', 'pipe', 'inherit'],
    })
    const ended = once(watchdog, 'exit')
    const end = async () => {
      watchdog.stdin.end()
      await ended
      await rm(folder, { recursive: true, force: true })
    }
    const [code] = await once(watchdog.stdout, 'data')
    watchdog.unref()
    ;(watchdog.stdin as unknown as { unref(): void }).unref()
    ;(watchdog.stdout as unknown as { unref(): void }).unref()
    try {
      if (String(code).trim() !== '0') throw new Error(readFileSync(join(folder, 'initdb.log'), 'utf8'))
      for (let tries = 1; ; tries++) {
        const port = await freePort()
        const secret = password === undefined ? '' : `:${encodeURIComponent(password)}`
        const url = `postgres://postgres${secret}@127.0.0.1:${port}/postgres`
        const server = new TestServer({ url, port, folder, bin, end, settings })
        try {
          await server.start()
          return server
        } catch (error) {
          // Somebody else may have taken the port.
          if (tries === 3) throw error
        }
      }
    } catch (error) {
      await end()
      throw error
    }
  }

  private constructor(parts: {
    url: string
    port: number
    folder?: string
    bin?: string
    end?: () => Promise<void>
    settings?: Readonly<Record<string, string>> | undefined
  }) {
    this.url = parts.url
    this.port = parts.port
    this.folder = parts.folder ?? ''
    this.#programs = parts.bin ?? ''
    this.#end = parts.end ?? (async () => {})
    this.#settings = { ...SETTINGS, ...parts.settings }
  }

  /** Whether it may be stopped and crashed. */
  get isOwn(): boolean {
    return this.folder !== ''
  }

  /** A fresh empty database. @returns its url */
  async database(): Promise<string> {
    const name = `pslock_test_${process.pid}_${Date.now().toString(36)}_${++this.#counter}`
    await this.sql(`create database ${name}`)
    this.#databases.push(name)
    return this.urlOf(name)
  }

  urlOf(database: string): string {
    const url = new URL(this.url)
    url.pathname = `/${database}`
    return url.href
  }

  /**
   * Runs it as the superuser, several statements one after the other.
   * @param database its name or its url
   * @returns the rows of the last one as text, null as an empty one
   */
  async sql(text: string, database?: string): Promise<string[][]> {
    const url = database === undefined ? this.url : database.includes('://') ? database : this.urlOf(database)
    const client = new Client({ connectionString: url, application_name: 'pslock-test' })
    client.on('error', () => {})
    await client.connect()
    try {
      const types = { getTypeParser: () => (value: string | Buffer | null) => String(value ?? '') }
      const answer = await client.query<(string | null)[]>({ text, rowMode: 'array', types: types as never })
      const last = [answer].flat().at(-1)
      return (last?.rows ?? []).map((row) => row.map((value) => value ?? ''))
    } finally {
      await client.end().catch(() => {})
    }
  }

  /** The log of the server. */
  log(): string {
    return readFileSync(join(this.folder, 'log'), 'utf8')
  }

  async start(): Promise<void> {
    if (this.#server) throw new Error('it runs already')
    const settings = Object.entries({
      ...this.#settings,
      port: String(this.port),
      unix_socket_directories: this.folder,
    })
    const log = openSync(join(this.folder, 'log'), 'a')
    const server = spawn(
      join(this.#programs, 'postgres'),
      ['-D', join(this.folder, 'data'), ...settings.flatMap(([name, value]) => ['-c', `${name}=${value}`])],
      { ...unprivileged(), cwd: this.folder, detached: true, stdio: ['ignore', log, log] },
    )
    closeSync(log)
    server.unref()
    this.#server = server
    server.once('exit', () => {
      if (this.#server === server) this.#server = undefined
    })
    const end = performance.now() + READY_MS
    while (!(await this.#answers())) {
      if (this.#server === server && performance.now() < end) await sleep(15)
      else throw new Error(`the server did not start:\n${this.log().slice(-2000)}`)
    }
  }

  async #answers(): Promise<boolean> {
    try {
      await this.sql('select 1')
      return true
    } catch {
      return false
    }
  }

  /** `fast` ends all sessions and shuts down; `immediate` is a crash that the server knows of. */
  async stop(mode: 'fast' | 'immediate'): Promise<void> {
    const server = this.#running()
    server.kill(mode === 'fast' ? 'SIGINT' : 'SIGQUIT')
    await gone(server)
  }

  /** kill -9 of the server and all its children, as if the machine had lost its power (but for its disk cache). */
  async kill9(): Promise<void> {
    const server = this.#running()
    await this.pause()
    const children = await childrenOf(server.pid as number)
    signalTo([...children, server.pid as number], 'SIGKILL')
    await gone(server)
    for (const child of children) while (parentOf(child) !== undefined) await sleep(2)
  }

  /** Stops all of its processes (SIGSTOP): connections stay, and nobody answers. */
  async pause(): Promise<void> {
    const { pid } = this.#running()
    // It first: it makes no more children then.
    signalTo([pid as number], 'SIGSTOP')
    signalTo(await childrenOf(pid as number), 'SIGSTOP')
  }

  async resume(): Promise<void> {
    const { pid } = this.#running()
    signalTo([...(await childrenOf(pid as number)), pid as number], 'SIGCONT')
  }

  /** Another server that follows this one, until `promote`. It is to be removed by whoever asked for it. */
  async standby(): Promise<TestServer> {
    const standby = await TestServer.start(this.#programs, {}, this)
    const end = performance.now() + READY_MS
    while ((await this.sql('select state from pg_stat_replication')).flat().join() !== 'streaming') {
      if (performance.now() > end)
        throw new Error(`the standby does not follow:\n${standby.log().slice(-2000)}`)
      await sleep(20)
    }
    return standby
  }

  /** A standby becomes a server of its own. */
  async promote(): Promise<void> {
    const [[isDone] = []] = await this.sql('select pg_promote()')
    if (isDone !== 'true' && isDone !== 't') throw new Error(`it was not promoted: ${isDone}`)
  }

  /** Ends it and removes its folder. */
  async remove(): Promise<void> {
    if (this.isOwn) return this.#end()
    for (const name of this.#databases.splice(0))
      await this.sql(`drop database if exists ${name} with (force)`)
  }

  #running(): ChildProcess {
    if (!this.isOwn) throw new Error('not of a server that is not our own: usePostgres({ own: true })')
    if (!this.#server) throw new Error('it does not run')
    return this.#server
  }
}

async function gone(child: ChildProcess): Promise<void> {
  if (child.exitCode === null && child.signalCode === null) await once(child, 'exit')
}

/** A server of one's own outside of tests. @throws where none is installed */
export async function startServer(): Promise<TestServer> {
  const bin = programs()
  if (bin === undefined) throw new Error('no PostgreSQL here (initdb, postgres)')
  return TestServer.start(bin, {})
}

let isSaid = false

function sayOnce(line: string): void {
  if (!isSaid) console.warn(`\n  !!! ${line} !!!\n`)
  isSaid = true
}

/**
 * A real PostgreSQL for the tests of the surrounding `describe`, all of which are skipped where there is none on this
 * machine. `PSLOCK_TEST_PG=url` takes a running server instead.
 */
export function usePostgres(options: ServerOptions = {}): () => TestServer {
  let server: TestServer | undefined
  before(async function () {
    const given = process.env.PSLOCK_TEST_PG
    const isOurs = options.own || options.password !== undefined || options.settings !== undefined
    if (given && !isOurs) {
      server = TestServer.at(given)
      return
    }
    const bin = given ? undefined : programs()
    if (bin === undefined) {
      sayOnce(
        given
          ? 'PSLOCK_TEST_PG: tests that stop the server or set it up are SKIPPED'
          : 'no PostgreSQL here (initdb, postgres): its tests are SKIPPED',
      )
      this.skip()
    }
    this.timeout(60_000)
    server = await TestServer.start(bin, options)
  })
  after(async () => server?.remove())
  return () => {
    if (!server) throw new Error('there is no server outside of its tests')
    return server
  }
}
