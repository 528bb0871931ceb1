import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { request as httpRequest } from 'node:http'
import { join } from 'node:path'
import type { Knobs } from '../../cli/demo/knobs.ts'
import type { Snapshot } from '../../cli/demo/run.ts'
import { ROOT } from '../fixtures/code.ts'
import { until } from '../fixtures/folder.ts'
import { PSLOCK, type Running, start } from './run-pslock.ts'

/** better-sqlite3 is no dependency of ours: it is among those of bench/, where they are installed. */
export const HAS_SQLITE: boolean = existsSync(join(ROOT, 'bench/node_modules/better-sqlite3'))

export interface Answer {
  readonly status: number
  readonly told: { run?: number; ms?: number; error?: string }
}

/** `pslock demo --web` in a process of its own, and what can be asked of it. */
export interface DemoServerProcess extends Running {
  readonly url: string
  ask(path: string, body?: unknown, headers?: Record<string, string>): Promise<Answer>
  askFor(path: string, headers: Record<string, string>): Promise<Answer>
  /** What it tells, as soon as that is so. */
  told(what: string, condition: (snapshot: Snapshot) => boolean): Promise<Snapshot>
  /** Starts a run. */
  begin(knobs: Partial<Knobs>): Promise<number>
  /** What the run has ended with. */
  result(run: number): Promise<Snapshot>
}

export async function startDemoServer(env: NodeJS.ProcessEnv = {}): Promise<DemoServerProcess> {
  const running = start(process.execPath, [PSLOCK, 'demo', '--web'], { cwd: join(ROOT, 'bench'), env })
  await until('the server says its address', () => running.output.stdout.includes('\n'))
  const url = running.output.stdout.trim()

  function ask(path: string, body: unknown = {}, headers: Record<string, string> = {}): Promise<Answer> {
    const text = typeof body === 'string' ? body : JSON.stringify(body)
    return asked('POST', path, { 'Content-Type': 'application/json', ...headers }, text)
  }

  /** By node:http: fetch would not send another Host. */
  async function asked(
    method: string,
    path: string,
    headers: Record<string, string>,
    body?: string,
  ): Promise<Answer> {
    const sent = httpRequest(new URL(path, url), { method, headers, agent: false })
    sent.end(body)
    const [response] = await once(sent, 'response')
    let text = ''
    for await (const chunk of response.setEncoding('utf8')) text += chunk
    return { status: response.statusCode, told: JSON.parse(text) }
  }

  async function told(what: string, condition: (snapshot: Snapshot) => boolean): Promise<Snapshot> {
    let last: unknown
    const timeout = AbortSignal.timeout(60_000)
    try {
      const { body } = await fetch(new URL('/events', url), { signal: timeout })
      let text = ''
      for await (const chunk of (body as ReadableStream<Uint8Array>).pipeThrough(new TextDecoderStream())) {
        const events = `${text}${chunk}`.split('\n\n')
        text = events.pop() as string
        for (const event of events.filter((one) => one.startsWith('data: '))) {
          const snapshot = JSON.parse(event.slice('data: '.length)) as Snapshot
          last = snapshot
          if (condition(snapshot)) return snapshot
        }
      }
    } catch (error) {
      if (!timeout.aborted) throw error
    }
    throw new Error(`not told: ${what}; last ${JSON.stringify(last)}`)
  }

  async function begin(knobs: Partial<Knobs>): Promise<number> {
    const { status, told: answer } = await ask('/start', knobs)
    if (status !== 200) throw new Error(`${status} ${answer.error}`)
    return answer.run as number
  }

  const result = (run: number) => told(`run ${run} is done`, (one) => one.run === run && one.phase === 'done')
  const askFor = (path: string, headers: Record<string, string>) => asked('GET', path, headers)
  return { ...running, url, ask, askFor, told, begin, result }
}

/** Whether there is such a process, and it has not ended. */
export function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0)
  } catch {
    return false
  }
}
