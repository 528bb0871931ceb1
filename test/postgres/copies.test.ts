import assert from 'node:assert/strict'
import { cpSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { join, relative } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { pathToFileURL } from 'node:url'
import { PgLock } from '../../src/postgres/lock/pg-lock.ts'
import { CODE, codeFile, ROOT } from '../fixtures/code.ts'
import { usePostgres } from '../harness/postgres.ts'

/** Two copies of the package in one process: the server keeps them apart, and one context lets them re-enter. */
describe('PgLock: two copies of the package in one process', () => {
  const server = usePostgres()
  let copy = ''
  let locks: [PgLock, PgLock]

  before(async () => {
    const cache = join(ROOT, 'node_modules/.cache')
    mkdirSync(cache, { recursive: true })
    copy = mkdtempSync(join(cache, 'pslock-copy-'))
    cpSync(join(CODE, 'src'), join(copy, 'src'), { recursive: true })
    writeFileSync(join(copy, 'package.json'), '{ "type": "module" }')
    const path = join(copy, relative(CODE, codeFile('src/postgres/lock/pg-lock')))
    const Other: typeof PgLock = (await import(pathToFileURL(path).href)).PgLock
    assert.notEqual(Other, PgLock)
    const url = await server().database()
    locks = [new PgLock(url, { name: 'a' }), new Other(url, { name: 'a' })]
  })

  after(async () => {
    for (const lock of locks ?? []) await lock.close()
    rmSync(copy, { recursive: true, force: true })
  })

  it('exclude each other', async () => {
    let inside = 0
    const run = async () => {
      assert.equal(++inside, 1)
      await sleep(2)
      inside--
    }
    await Promise.all(Array.from({ length: 20 }, (_, i) => locks[i % 2]!.exclusive(run)))
  })

  it('re-enter, with the same token; siblings exclude each other', async () => {
    const [one, other] = locks
    for (const [outer, inner] of [
      [one, other],
      [other, one],
    ] as const) {
      let inside = 0
      await outer.exclusive(async ({ fencingToken }) => {
        const nested = (lock: PgLock) =>
          lock.exclusive(async (hold) => {
            assert.equal(hold.fencingToken, fencingToken)
            assert.equal(++inside, 1)
            await sleep(2)
            inside--
          })
        await Promise.all([nested(inner), nested(outer), nested(inner)])
        await inner.shared(() =>
          assert.rejects(
            outer.exclusive(() => {}),
            { code: 'PSLOCK_UPGRADE' },
          ),
        )
      })
    }
  })
})
