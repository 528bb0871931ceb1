import cluster from 'node:cluster'
import { randomUUID } from 'node:crypto'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { text } from 'node:stream/consumers'
import { ClosedError, ConflictError } from 'pslock'
import { LockedJSONFilePreset } from 'pslock/lowdb'
import { conflictPage, editorPage, messagePage } from './pages.ts'

// A configuration file that several people edit in their browsers. What one changes is a stage, which nobody else sees before it is
// saved; it can be undone, and each request may be served by another process:
//
//   npx tsx examples/config-editor/server.ts config.json 8080
//
// Only for this machine: whoever serves others adds https and a login.

const [file = 'config.json', port = '8080'] = process.argv.slice(2)
const defaults = { settings: { title: 'Our shop', color: 'green', limit: '20', mail: 'shop@example.org' } }

interface Config {
  settings: Record<string, string>
}

async function serve(): Promise<void> {
  const db = await LockedJSONFilePreset<Config>(file, defaults)

  async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const [, session = randomUUID()] = /\bsession=([\w-]+)/.exec(request.headers.cookie ?? '') ?? []
    // To the next request another process may answer.
    response.setHeader('Connection', 'close')
    response.setHeader('Set-Cookie', `session=${session}; HttpOnly; SameSite=Strict`)
    response.setHeader('Content-Type', 'text/html; charset=utf-8')
    const { pathname } = new URL(request.url ?? '/', 'http://localhost')
    if (request.method !== 'POST') {
      if (pathname !== '/') return void response.writeHead(404).end(messagePage('There is no such page.'))
      const stage = await db.stage(session)
      const [data, edits] = await Promise.all([stage.read(), stage.edits()])
      return void response.end(
        editorPage({ settings: data.settings, edits, at: stage.at, process: process.pid }),
      )
    }

    const form = new URLSearchParams(await text(request))
    // What the form has shown: where the stage was changed since, in another tab, nothing is done.
    const at = Number(form.get('at') || Number.NaN)
    if (!Number.isInteger(at))
      return void response.writeHead(400).end(messagePage('That is no form of this page.'))
    try {
      const stage = await db.stage(session, { at, expiresMs: 60 * 60_000 })
      if (pathname === '/set') {
        await stage.update(({ settings }) => {
          const name = form.get('name') ?? ''
          if (Object.hasOwn(settings, name)) settings[name] = form.get('value') ?? ''
        })
      } else if (pathname === '/undo') await stage.undo()
      else if (pathname === '/redo') await stage.redo()
      else if (pathname === '/cancel') await stage.cancel('by its user')
      else if (pathname === '/save') {
        await stage.commit({
          resolve: ({ path, theirs }) => {
            const choice = form.get(path)
            // Not what was changed once more since the page was shown.
            if (form.get(`theirs ${path}`) !== String(theirs)) return undefined
            return choice === 'mine' || choice === 'theirs' ? choice : undefined
          },
          validate: ({ data }) => {
            if (!(Number(data.settings.limit) > 0))
              throw new RangeError('The limit must be a number above 0.')
          },
        })
      } else return void response.writeHead(404).end(messagePage('There is no such page.'))
      response.writeHead(303, { Location: '/' }).end()
    } catch (error) {
      if (error instanceof ConflictError && error.conflicts.length > 0) {
        response.writeHead(409).end(conflictPage(error.conflicts, (await db.stage(session)).at))
      } else if (error instanceof ConflictError || error instanceof ClosedError) {
        response.writeHead(409).end(messagePage('You have gone on in another tab. Look at it again.'))
      } else if (error instanceof RangeError) {
        response.writeHead(422).end(messagePage(error.message))
      } else throw error
    }
  }

  const server = createServer((request, response) => {
    answer(request, response).catch((error) => {
      console.error(error)
      response.writeHead(500).end(messagePage('Something went wrong.'))
    })
  })
  server.listen(Number(port), '127.0.0.1', () => {
    process.send?.((server.address() as AddressInfo).port)
  })
}

if (cluster.isPrimary) {
  const workers = [cluster.fork(), cluster.fork()]
  let ready = 0
  for (const worker of workers) {
    worker.on('message', (actual) => {
      if (++ready === workers.length) console.log(`http://127.0.0.1:${actual}/`)
    })
  }
} else await serve()
