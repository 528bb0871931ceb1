import assert from 'node:assert/strict'
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { basename } from 'node:path'
import { useFolder } from '../fixtures/folder.ts'
import { PSLOCK, start } from './run-pslock.ts'

/** Whoever has files only pays for nothing that is for servers. */
describe('the command line, of files', () => {
  const file = useFolder()

  async function loadedBy(...args: string[]): Promise<string[]> {
    writeFileSync(
      file('note.cjs'),
      `process.on('exit', () => require('node:fs').writeFileSync(${JSON.stringify(file('loaded'))}, JSON.stringify(Object.keys(require.cache))))`,
    )
    const env = { NODE_OPTIONS: `--require ${file('note.cjs')}` }
    await start(process.execPath, [PSLOCK, ...args], { env }).outcome
    const paths = JSON.parse(readFileSync(file('loaded'), 'utf8')) as string[]
    return paths.map((path) => (path.includes('node_modules/pg/') ? 'pg' : basename(path)))
  }

  for (const args of [
    ['run', 'a.db', '--', 'true'],
    ['status', 'a.db'],
    ['dump', 'a.db', 'b.dump'],
    ['check', 'a.db'],
    ['copy', 'a.db', 'c.db'],
  ]) {
    it(`${args[0]} loads nothing of what is for a server`, async () => {
      writeFileSync(file('a.db'), '{"_id":"a"}\n')
      const found = await loadedBy(...args.map((arg) => (/\./.test(arg) ? file(arg) : arg)))
      assert.ok(found.includes('core.cjs'), found.join())
      for (const name of ['postgres.cjs', 'on-server.cjs', 'pg']) assert.ok(!found.includes(name), name)
      for (const copy of args.slice(2).filter((arg) => /\./.test(arg))) assert.ok(existsSync(file(copy)))
    })
  }

  it('what is for a server loads it', async () => {
    assert.ok(
      (await loadedBy('check', 'postgres://127.0.0.1:1/a#b', '--timeout', '0')).includes('postgres.cjs'),
    )
    const found = await loadedBy('run', '-n', 'postgres://127.0.0.1:1/a#b', '--', 'true')
    for (const name of ['postgres.cjs', 'on-server.cjs', 'pg']) assert.ok(found.includes(name), name)
  })
})
