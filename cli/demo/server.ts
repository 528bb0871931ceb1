import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { rmSync } from 'node:fs'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { chartLibrary } from '../stress/page/assets.ts'
import { type Knobs, knobsOf } from './knobs.ts'
import { demoPage } from './page.ts'
import { forked, Run, SIGNALS, type SignalName } from './run.ts'
import { hasSqlite } from './sqlite.ts'

/** How often the page is told what there is to see. */
const TELL_EVERY_MS = 250
const BODY_BYTES_AT_MOST = 4096
const HOST = '127.0.0.1'

/** A request that gets an answer other than 200, which says why. */
class Refused extends Error {
  readonly status: number

  constructor(status: number, message: string) {
    super(message)
    this.status = status
  }
}

/**
 * The server of `pslock demo --web`. It listens on this machine alone, and answers to no other name and no other page:
 * else a page from anywhere could start processes here (DNS rebinding, cross-site requests).
 */
export class DemoServer {
  readonly #server: Server
  readonly #watchdog = forked({ role: 'watchdog' })
  #folder = ''
  readonly #listeners = new Set<ServerResponse>()
  readonly #routes: Record<string, (request: IncomingMessage, response: ServerResponse) => unknown> = {
    'GET /': (_, response) => this.#page(response),
    'GET /chart.js': (_, response) => answer(response, 200, chartLibrary(), 'text/javascript; charset=utf-8'),
    'GET /events': (_, response) => this.#listen(response),
    'POST /start': async (request) => {
      const knobs = checked(await jsonOf(request))
      return { run: await this.#begin(() => new Run(++this.#runs, knobs, this.#folder, this.#announce)) }
    },
    'POST /end': async () => {
      this.#run?.end()
      return {}
    },
    'POST /records': async () => {
      const inserted = await this.#run?.request()
      if (inserted === undefined) throw new Refused(409, 'The web site is not running: start a run first.')
      if (inserted.error !== undefined) throw new Refused(503, inserted.error)
      return { ms: inserted.ms }
    },
    'POST /signal': async (request) => {
      const { pid, signal } = (await jsonOf(request)) as { pid?: unknown; signal?: unknown }
      if (!Object.hasOwn(SIGNALS, String(signal)))
        throw new Refused(400, `signal must be one of ${Object.keys(SIGNALS).join(', ')}.`)
      if (typeof pid !== 'number' || !this.#run?.signal(pid, signal as SignalName))
        throw new Refused(404, 'This run has started no such process, or it has ended.')
      return {}
    },
  }
  #runs = 0
  #run: Run | undefined
  #beginning: Promise<unknown> = Promise.resolve()
  #telling: NodeJS.Timeout | undefined
  #isClosed = false

  constructor() {
    this.#server = createServer((request, response) => void this.#respond(request, response))
  }

  /** @returns its address */
  async listen(port: number): Promise<string> {
    // Nothing is started before there is somebody to end it.
    const watchdog = this.#watchdog
    const [told] = await Promise.race([once(watchdog, 'message'), once(watchdog, 'close')])
    if (!told?.folder) throw new Error(told?.failed ?? 'the first process was killed')
    this.#folder = told.folder
    await new Promise<void>((resolve, reject) => {
      this.#server.once('error', reject).listen(port, HOST, resolve)
    })
    this.#tellAgain()
    return `http://${HOST}:${this.#port}/`
  }

  async close(): Promise<void> {
    this.#isClosed = true
    clearTimeout(this.#telling)
    this.#server.close()
    this.#server.closeAllConnections()
    await this.#beginning
    await this.#run?.close()
    if (this.#watchdog.connected) {
      const ended = once(this.#watchdog, 'close')
      this.#watchdog.disconnect()
      await ended
    }
    // It may have been killed.
    if (this.#folder !== '') rmSync(this.#folder, { recursive: true, force: true })
  }

  get #port(): number {
    return (this.#server.address() as AddressInfo).port
  }

  async #respond(request: IncomingMessage, response: ServerResponse): Promise<void> {
    try {
      this.#admit(request)
      if (!URL.canParse(request.url ?? '', `http://${HOST}`)) throw new Refused(400, 'That is no URL.')
      const { pathname } = new URL(request.url as string, `http://${HOST}`)
      const route = this.#routes[`${request.method} ${pathname}`]
      if (route === undefined) throw new Refused(404, 'There is no such page.')
      const told = await route(request, response)
      if (told !== undefined) answer(response, 200, JSON.stringify(told))
    } catch (error) {
      const code = error instanceof Refused ? error.status : 500
      answer(response, code, JSON.stringify({ error: (error as Error).message }))
    }
  }

  /** Only a page that came from here, and only under the names of this machine. */
  #admit({ headers: { host, origin, 'content-type': type }, method }: IncomingMessage): void {
    const names = [`${HOST}:${this.#port}`, `localhost:${this.#port}`]
    if (host === undefined || !names.includes(host))
      throw new Refused(403, `Ask for it by its address: http://${names[0]}/`)
    if (origin !== undefined && origin !== `http://${host}`)
      throw new Refused(403, 'A page from elsewhere may not ask for anything here.')
    // No page can send this to elsewhere without asking first, which is never granted.
    if (method === 'POST' && !type?.startsWith('application/json'))
      throw new Refused(415, 'Send it as application/json.')
  }

  #page(response: ServerResponse): void {
    const nonce = randomBytes(16).toString('base64')
    const policy = [
      "default-src 'none'",
      `script-src 'self' 'nonce-${nonce}'`,
      `style-src 'nonce-${nonce}'`,
      "connect-src 'self'",
      'img-src data:',
      "frame-ancestors 'none'",
      "base-uri 'none'",
    ]
    response.setHeader('Content-Security-Policy', policy.join('; '))
    answer(response, 200, demoPage(nonce), 'text/html; charset=utf-8')
  }

  #listen(response: ServerResponse): void {
    response.writeHead(200, { 'Content-Type': 'text/event-stream', 'Cache-Control': 'no-store' })
    response.write('retry: 1000\n\n')
    this.#listeners.add(response)
    response.on('close', () => this.#listeners.delete(response))
  }

  /** One run after the other: the one before ends first. */
  #begin(make: () => Run): Promise<number> {
    const begun = this.#beginning.then(async () => {
      await this.#run?.close()
      if (this.#isClosed) throw new Refused(503, 'The server is ending.')
      const run = make()
      this.#run = run
      run.start()
      return run.id
    })
    this.#beginning = begun.catch(() => {})
    return begun
  }

  readonly #announce = (pid: number, ended: boolean): void => {
    if (this.#watchdog.connected) this.#watchdog.send({ pid, ended }, () => {})
  }

  /** All of it at once each time: whoever comes later, or comes back, knows as much as the others. */
  #tellAgain(): void {
    this.#telling = setTimeout(async () => {
      const snapshot = (await this.#run?.look()) ?? { run: 0, phase: 'idle' }
      for (const listener of this.#listeners) listener.write(`data: ${JSON.stringify(snapshot)}\n\n`)
      if (!this.#isClosed) this.#tellAgain()
    }, TELL_EVERY_MS)
  }
}

function checked(asked: unknown): Knobs {
  try {
    const knobs = knobsOf(asked)
    if (knobs.way === 'sqlite' && !hasSqlite())
      throw new RangeError('better-sqlite3 is not installed here: npm install better-sqlite3')
    return knobs
  } catch (error) {
    throw new Refused(400, (error as Error).message)
  }
}

async function jsonOf(request: IncomingMessage): Promise<unknown> {
  let text = ''
  for await (const chunk of request.setEncoding('utf8')) {
    text += chunk
    if (text.length > BODY_BYTES_AT_MOST) throw new Refused(413, 'That is too much.')
  }
  try {
    const asked: unknown = JSON.parse(text)
    if (typeof asked === 'object' && asked !== null) return asked
  } catch {
    // As any other text that is no object.
  }
  throw new Refused(400, 'Send a JSON object.')
}

function answer(response: ServerResponse, code: number, text: string, type = 'application/json'): void {
  response.writeHead(code, {
    'Content-Type': type,
    'Cache-Control': 'no-store',
    'X-Content-Type-Options': 'nosniff',
  })
  response.end(text)
}
