import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import {
  chmodSync,
  existsSync,
  linkSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { relative } from 'node:path'
import { pathToFileURL } from 'node:url'
import { JSONFile as VanillaJSONFile } from 'lowdb/node'
import {
  LockedJSONFilePreset,
  LockedJSONFileSyncPreset,
  LockedLow,
  LockedLowSync,
} from '../../../adapters/lowdb.ts'
import { CorruptStoreError, LockUnsupportedError, PsLockError } from '../../../src/errors.ts'
import { useFolder } from '../../fixtures/folder.ts'
import { assertNoOrphans, failing, fileOf, untouched } from '../../fixtures/lowdb-tools.ts'

interface Data {
  n: number
  [key: string]: unknown
}

/** Law 5 and law 11: the file stays what it is, and is never overwritten where it is not understood. */
describe('lowdb data file', () => {
  const at = useFolder()
  const path = () => at('db.json')
  const stores = [
    ['async', () => new LockedLow<Data>(path(), { n: 0 })],
    ['sync', () => new LockedLowSync<Data>(path(), { n: 0 })],
  ] as const

  for (const [kind, open] of stores) {
    describe(`of a ${kind} store`, () => {
      for (const [what, content] of [
        ['an empty file', ''],
        ['a file of blanks', ' \n\n'],
        ['half a JSON', '{"n":1,"list":[1,2'],
        ['two JSONs', '{"n":1}{"n":2}'],
        ['a JSON with NULs behind it', '{"n":1}\0\0\0\0'],
        [
          'a JSON with a text that is not UTF-8',
          Buffer.from('7b226e223a312c2274223a22ff22 7d'.replace(' ', ''), 'hex'),
        ],
        ['another format', 'n: 1\n'],
      ] as [string, string | Buffer][]) {
        it(`${what} is a CorruptStoreError for every operation, and nothing is overwritten`, async () => {
          writeFileSync(path(), content)
          const db = open()
          db.data.mine = 1
          for (const run of [
            () => db.read(),
            () => db.write(),
            () => db.update((data) => void data.n++),
            () => db.write(),
          ]) {
            const error = await untouched(path(), () => failing(run))
            assert.ok(error instanceof CorruptStoreError, `${error}`)
            assert.equal(error.code, 'PSLOCK_CORRUPT')
            assert.ok(error.message.includes(path()))
          }
          assert.deepEqual(db.data, { n: 0, mine: 1 })
          writeFileSync(path(), '{"n":5}')
          await db.update((data) => void data.n++)
          assert.deepEqual(fileOf(path()), { n: 6, mine: 1 }, 'it goes on where the file was mended')
        })
      }

      for (const value of [null, 0, false, '', [], 1.5, 'text']) {
        const text = JSON.stringify(value)
        it(`a file that holds ${text} is read as ${text}`, async () => {
          writeFileSync(path(), text)
          const db = open()
          await db.read()
          assert.deepEqual(db.data, value)
        })

        it(`db.data = ${text} is written as ${text}`, async () => {
          writeFileSync(path(), '{"n":1}')
          const db = open()
          await db.read()
          ;(db as { data: unknown }).data = value
          await db.write()
          assert.equal(readFileSync(path(), 'utf8'), text)
          await db.read()
          assert.deepEqual(db.data, value)
        })
      }

      it('keeps the mode of the file', async () => {
        for (const mode of [0o600, 0o640, 0o666]) {
          writeFileSync(path(), '{"n":1}')
          chmodSync(path(), mode)
          await open().update((data) => void data.n++)
          assert.equal(statSync(path()).mode & 0o777, mode)
        }
      })

      it('keeps the owner of the file', async function () {
        if (process.getuid?.() !== 0) return this.skip()
        writeFileSync(path(), '{"n":1}')
        execFileSync('chown', ['12345:23456', path()])
        await open().update((data) => void data.n++)
        assert.deepEqual([statSync(path()).uid, statSync(path()).gid], [12345, 23456])
      })

      it('gives a new file the mode that the umask says', async () => {
        await open().update((data) => void data.n++)
        assert.equal(statSync(path()).mode & 0o777, 0o666 & ~process.umask())
      })

      it('follows a symbolic link, relative and chained, and keeps it', async () => {
        mkdirSync(at('real'))
        writeFileSync(at('real/data.json'), '{"n":1}')
        symlinkSync('real/data.json', at('second'))
        symlinkSync('second', path())
        const db = open()
        await db.read()
        await db.update((data) => void data.n++)
        assert.deepEqual(fileOf(at('real/data.json')), { n: 2 })
        assert.deepEqual(
          [lstatSync(path()).isSymbolicLink(), readlinkSync(at('second'))],
          [true, 'real/data.json'],
        )
        const direct = new LockedLow<Data>(at('real/data.json'), { n: 0 })
        assert.equal(direct.lock.path, db.lock.path, 'both names have one lock')
        assert.ok(!existsSync(at('db.json.lock')))
      })

      it('follows a dangling symbolic link to where the file will be', async () => {
        symlinkSync('later.json', path())
        await open().update((data) => void data.n++)
        assert.deepEqual(fileOf(at('later.json')), { n: 1 })
        assert.ok(lstatSync(path()).isSymbolicLink())
      })

      it('a file with a second hard link is refused before anything is written', async () => {
        writeFileSync(path(), '{"n":1}')
        linkSync(path(), at('other.json'))
        const db = open()
        await db.read()
        const error = await untouched(path(), () => failing(() => db.update((data) => void data.n++)))
        assert.ok(error instanceof LockUnsupportedError, `${error}`)
        assert.equal(statSync(path()).nlink, 2)
        assert.equal(db.data.n, 1)
        assertNoOrphans(path())
      })

      it('a folder in its place, or no folder around it, is a typed error', async () => {
        mkdirSync(path())
        for (const name of ['db.json', 'missing/db.json']) {
          const db =
            kind === 'async' ? new LockedLow(at(name), { n: 0 }) : new LockedLowSync(at(name), { n: 0 })
          const error = await failing(() => db.update(() => {}))
          assert.ok(error instanceof PsLockError, `${name}: ${error}`)
        }
        assert.deepEqual(readdirSync(path()), [])
      })

      it('leaves temp files of vanilla and of others alone, and none of its own', async () => {
        for (const name of ['.db.json.tmp', 'db.json.tmp', 'db.json~', '.db.json.swp'])
          writeFileSync(at(name), name)
        const db = open()
        for (let i = 0; i < 3; i++) await db.update((data) => void data.n++)
        for (const name of ['.db.json.tmp', 'db.json.tmp', 'db.json~', '.db.json.swp']) {
          assert.equal(readFileSync(at(name), 'utf8'), name)
        }
        assert.equal(readdirSync(at()).filter((name) => !/\.lock(\.turn)?$/.test(name)).length, 5)
      })

      it('more than a megabyte, with every kind of character, comes back as it was', async () => {
        const text = '\u0000\u2028\u2029\u0085é😀\ud83d"\\\n'.repeat(100_000)
        await open().update((data) => void Object.assign(data, { text }))
        const again = open()
        await again.read()
        assert.equal(again.data.text, text)
        assert.equal(fileOf(path()).text, text)
      })
    })
  }

  it('takes URLs, relative and absolute paths for the same file', async () => {
    const spelled = [path(), relative(process.cwd(), path()), pathToFileURL(path()), at('./x/../db.json')]
    for (const name of spelled) {
      await new LockedLow<Data>(name, { n: 0 }).update((data) => void data.n++)
      new LockedLowSync<Data>(name, { n: 0 }).update((data) => void data.n++)
      await (await LockedJSONFilePreset<Data>(name, { n: 0 })).update((data) => void data.n++)
      LockedJSONFileSyncPreset<Data>(name, { n: 0 }).update((data) => void data.n++)
    }
    assert.equal(fileOf(path()).n, 16)
    const paths = new Set(spelled.map((name) => new LockedLow(name, {}).lock.path))
    assert.equal(paths.size, 1)
  })

  it('an empty path is a TypeError, not the present folder', () => {
    assert.throws(() => new LockedLow('', {}), TypeError)
    assert.throws(() => new LockedLowSync('', {}), TypeError)
    assert.throws(() => new LockedLow('a\0b', {}), TypeError)
  })

  it('a file that vanilla wrote opens unchanged, and vanilla opens ours', async () => {
    await new VanillaJSONFile(path()).write({ n: 1, list: ['é'] })
    const db = await untouched(path(), () => LockedJSONFilePreset<Data>(path(), { n: 0 }))
    assert.deepEqual(db.data, { n: 1, list: ['é'] })
    await db.update((data) => void data.n++)
    assert.deepEqual(await new VanillaJSONFile(path()).read(), { n: 2, list: ['é'] })
  })
})
