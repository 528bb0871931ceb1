import assert from 'node:assert/strict'
import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { Client } from 'pg'
import { codeUrl, LOADER } from '../fixtures/code.ts'
import { until } from '../fixtures/folder.ts'
import { usePostgres } from '../harness/postgres.ts'

/** The server that the tests use: it does what it is told, and leaves nothing behind. */
describe('the test server', () => {
  const server = usePostgres()

  it('answers', async () => {
    assert.deepEqual(await server().sql('select 1, null; select 2::bigint, $$x$$, true'), [['2', 'x', 't']])
  })

  it('gives a fresh database each time', async () => {
    const [one, two] = [await server().database(), await server().database()]
    assert.notEqual(one, two)
    await server().sql('create table t (x int)', one)
    assert.deepEqual(await server().sql("select to_regclass('t') is null", one), [['f']])
    assert.deepEqual(await server().sql("select to_regclass('t') is null", two), [['t']])
  })
})

describe('the test server, stopped and started', () => {
  const server = usePostgres({ own: true })

  async function connected(): Promise<{ client: Client; lost: Promise<unknown> }> {
    const client = new Client({ connectionString: server().url })
    await client.connect()
    client.on('error', () => {})
    return { client, lost: new Promise<void>((resolve) => client.once('end', resolve)) }
  }

  for (const how of ['fast', 'immediate', 'kill9'] as const) {
    it(`${how}: connections are lost, and it starts again with its data`, async () => {
      await server().sql('drop table if exists kept; create table kept as select 7 as x')
      const { lost } = await connected()
      if (how === 'kill9') await server().kill9()
      else await server().stop(how)
      await lost
      await assert.rejects(server().sql('select 1'), { code: 'ECONNREFUSED' })
      await server().start()
      assert.deepEqual(await server().sql('select x from kept'), [['7']])
    })
  }

  it('pause: nobody answers until it is resumed', async () => {
    const { client, lost } = await connected()
    await server().pause()
    let answered = false
    const answer = client.query('select 1').then(() => (answered = true))
    await new Promise((resolve) => setTimeout(resolve, 150))
    assert.equal(answered, false)
    await server().resume()
    await answer
    await client.end()
    await lost
  })
})

describe('the test server with a password', () => {
  const server = usePostgres({ password: 'p@ss/wörd' })

  it('lets in who knows it', async () => {
    assert.deepEqual(await server().sql('select current_user'), [['postgres']])
    const url = new URL(server().url)
    url.password = 'wrong'
    await assert.rejects(server().sql('select 1', url.href), { code: '28P01' })
  })
})

describe('the test server of a killed process', () => {
  usePostgres({ own: true })

  for (const paused of [false, true]) {
    it(`is gone with its folder${paused ? ', though it was stopped' : ''}`, async () => {
      const script = `
        globalThis.before = (run) => run.call({ timeout() {} }).then(async () => {
          const { folder, port } = server()
          ${paused ? 'await server().pause()' : ''}
          console.log(folder)
          setInterval(() => {}, 1000)
        })
        globalThis.after = () => {}
        const { usePostgres } = await import(${JSON.stringify(codeUrl('test/harness/postgres'))})
        const server = usePostgres()
      `
      const child = spawn(process.execPath, [...LOADER, '--input-type=module', '-e', script], {
        stdio: ['ignore', 'pipe', 'inherit'],
      })
      const [said] = await once(child.stdout, 'data')
      const folder = String(said).trim()
      assert.ok(existsSync(folder))
      child.kill('SIGKILL')
      const processes = () => execFileSync('ps', ['-axww', '-o', 'args='], { encoding: 'utf8' })
      await until('all is gone', () => !existsSync(folder) && !processes().includes(folder), 15_000)
    })
  }
})
