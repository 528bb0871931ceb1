import { strict as assert } from 'node:assert'
import { fork } from 'node:child_process'
import { once } from 'node:events'
import {
  chmodSync,
  existsSync,
  linkSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setImmediate } from 'node:timers/promises'
import properLockfile from 'proper-lockfile'
import { LockedJSONFilePreset, LockedJSONFileSyncPreset, LockedLow } from '../adapters/lowdb.ts'
import { LockedNedb } from '../adapters/nedb.ts'
import { LockedDatastore } from '../adapters/nedb-promises.ts'
import { PsLock } from '../src/lock/lock.ts'
import { fixture } from './fixtures/code.ts'

/** What one store does with a path: open it and change something, or only look. */
interface Subject {
  readonly name: string
  write(path: string): Promise<unknown>
  read(path: string): Promise<unknown>
}

const lowdb: Subject = {
  name: 'lowdb',
  write: async (path) =>
    (await LockedJSONFilePreset<{ n?: number }>(path, {})).update((data) => (data.n = 1)),
  read: (path) => LockedJSONFilePreset(path, {}),
}
const lowdbSync: Subject = {
  name: 'lowdb sync',
  write: async (path) => LockedJSONFileSyncPreset<{ n?: number }>(path, {}).update((data) => (data.n = 1)),
  read: async (path) => LockedJSONFileSyncPreset(path, {}),
}
const nedb: Subject = {
  name: 'nedb',
  write: async (path) =>
    new LockedNedb({ filename: path, onload: () => {}, autoload: true }).autoloadPromise?.then(() =>
      insert(path),
    ),
  read: (path) =>
    new LockedNedb({ filename: path, autoload: true, onload: () => {} }).autoloadPromise ?? Promise.reject(),
}
const promises: Subject = {
  name: 'nedb-promises',
  write: (path) => LockedDatastore.create(path).insert({ a: 1 }),
  read: (path) => LockedDatastore.create(path).find({}),
}
const psLock: Subject = {
  name: 'PsLock',
  write: (path) => new PsLock(path).exclusive(() => {}),
  read: (path) => new PsLock(path).shared(() => {}),
}

const insert = (path: string) => new LockedNedb({ filename: path, autoload: true }).insertAsync({ a: 1 })

const stores = [lowdb, lowdbSync, nedb, promises]
const logs = [nedb, promises]
const images = [lowdb, lowdbSync]

/** One row: what stands at the path, and what a write (and, unless told otherwise, a read) must say. */
interface Row {
  readonly what: string
  readonly who: readonly Subject[]
  prepare(path: string): void
  readonly code: string | readonly string[]
  /** Only the write must fail. */
  readonly readable?: boolean
}

const rows: Row[] = [
  {
    what: 'a folder',
    who: stores,
    prepare: (path) => mkdirSync(path),
    code: ['PSLOCK_STORE_IO', 'PSLOCK_CORRUPT'],
  },
  { what: 'something below a file', who: [...images, psLock], prepare: below, code: 'PSLOCK_IO' },
  { what: 'something below a file', who: logs, prepare: below, code: 'PSLOCK_STORE_IO' },
  { what: 'a read-only file', who: stores, prepare: readOnly, code: 'PSLOCK_STORE_IO', readable: true },
  { what: 'plain text', who: stores, prepare: text('hello\nworld\n'), code: 'PSLOCK_CORRUPT' },
  {
    what: 'plain text without a line feed',
    who: stores,
    prepare: text('hello world'),
    code: 'PSLOCK_CORRUPT',
  },
  {
    what: 'a binary file',
    who: stores,
    prepare: text('\0\x01\x02PNG\n\xff'.repeat(100)),
    code: 'PSLOCK_CORRUPT',
  },
  {
    what: 'a pretty JSON object',
    who: logs,
    prepare: text('{\n  "posts": [\n    1\n  ]\n}\n'),
    code: 'PSLOCK_CORRUPT',
  },
  { what: 'a JSON object on one line', who: logs, prepare: text('{"posts":[1,2]}'), code: 'PSLOCK_CORRUPT' },
  { what: 'a JSON array', who: logs, prepare: text('[1,2,3]\n'), code: 'PSLOCK_CORRUPT' },
  {
    what: 'a log of documents',
    who: images,
    prepare: text('{"_id":"1"}\n{"_id":"2"}\n'),
    code: 'PSLOCK_CORRUPT',
  },
  { what: 'a torn JSON object', who: images, prepare: text('{\n  "posts": [1, 2'), code: 'PSLOCK_CORRUPT' },
  { what: 'an empty file', who: images, prepare: text(''), code: 'PSLOCK_CORRUPT' },
  { what: 'zeroes', who: stores, prepare: text('\0'.repeat(512)), code: 'PSLOCK_CORRUPT' },
  {
    what: 'half unreadable lines',
    who: logs,
    prepare: text('{"_id":"1"}\nnonsense\n'),
    code: 'PSLOCK_CORRUPT',
  },
  {
    what: 'a lock file that is a folder',
    who: [...stores, psLock],
    prepare: lockFolder,
    code: 'PSLOCK_UNSUPPORTED',
  },
  {
    what: 'a lock file that is a link',
    who: [...stores, psLock],
    prepare: lockLink,
    code: 'PSLOCK_UNSUPPORTED',
  },
  { what: 'a missing parent folder', who: [...images, psLock], prepare: () => {}, code: 'PSLOCK_IO' },
  {
    what: 'a file with two names',
    who: images,
    prepare: hardLink,
    code: 'PSLOCK_UNSUPPORTED',
    readable: true,
  },
]

function text(content: string): (path: string) => void {
  return (path) => writeFileSync(path, content, 'latin1')
}
function below(path: string): void {
  writeFileSync(join(path, '..'), 'a file')
}
function readOnly(path: string): void {
  writeFileSync(path, path.includes('nedb') ? '{"_id":"1"}\n' : '{"n":0}')
  chmodSync(path, 0o444)
}
function lockFolder(path: string): void {
  mkdirSync(`${path}.lock`)
}
function lockLink(path: string): void {
  symlinkSync('elsewhere', `${path}.lock`)
}
function hardLink(path: string): void {
  writeFileSync(path, '{"n":0}')
  linkSync(path, `${path}.other`)
}

describe('Bad input', () => {
  let room: string
  beforeEach(() => {
    room = mkdtempSync(join(tmpdir(), 'pslock-bad-'))
  })
  afterEach(() => rmSync(room, { recursive: true, force: true }))

  for (const { what, who, prepare, code, readable } of rows) {
    for (const subject of who) {
      it(`${subject.name}: ${what} is refused, and left as it is`, async () => {
        const folder = /below|missing/.test(what) ? join(room, 'folder') : room
        const path = join(folder, `${subject.name.replace(' ', '-')}.db`)
        prepare(path)
        const before = existsSync(path) && statSync(path).isFile() ? readFileSync(path) : undefined
        const codes = [code].flat()
        const refused = (error: Error & { code?: string; path?: string }) => {
          assert.ok(codes.includes(error.code ?? ''), `${error.name} ${error.code}: ${error.message}`)
          assert.ok(error.message.includes(room) || /corrupt/.test(error.message), error.message)
          assert.ok(error.path?.startsWith(room), error.path)
          return true
        }
        await assert.rejects(subject.write(path), refused)
        if (readable) await subject.read(path)
        else if (!/parent|below/.test(what)) await assert.rejects(subject.read(path), refused)
        if (before) assert.deepEqual(readFileSync(path), before)
      })
    }
  }

  for (const subject of logs) {
    it(`${subject.name}: an empty file is an empty store, and a missing folder is made, as in vanilla`, async () => {
      const path = join(room, 'empty.db')
      writeFileSync(path, '')
      await subject.write(path)
      await subject.write(join(room, 'a', 'b', 'new.db'))
      assert.match(readFileSync(join(room, 'a', 'b', 'new.db'), 'utf8'), /"a":1/)
    })
  }

  for (const value of [Number.NaN, -1, '5', null]) {
    it(`timeoutMs: ${String(value)} (${typeof value}) is a TypeError that shows it`, async () => {
      const timeoutMs = value as number
      const path = join(room, 'x.db')
      const shown = { name: 'TypeError', message: /timeoutMs must be a number of milliseconds/ }
      assert.throws(() => new PsLock(path, { timeoutMs }), shown)
      await assert.rejects(
        new PsLock(path).exclusive(() => {}, { timeoutMs }),
        shown,
      )
      assert.throws(() => new LockedNedb({ filename: path, timeoutMs }), shown)
      assert.throws(() => LockedDatastore.create({ filename: path, timeoutMs }), shown)
      assert.throws(() => new LockedLow(path, {}, { timeoutMs }), shown)
      assert.equal(existsSync(path), false)
    })
  }

  it('durability that is none is a TypeError that shows it', () => {
    const durability = 'maybe' as 'disk'
    assert.throws(
      () => new LockedNedb({ filename: join(room, 'x'), durability }),
      /TypeError: durability .* "maybe"/,
    )
  })

  it('update() without a function is a TypeError, and nothing is written', async () => {
    const path = join(room, 'db.json')
    const low = await LockedJSONFilePreset(path, { n: 0 })
    for (const value of [undefined, null, 5, { n: 1 }]) {
      await assert.rejects(
        low.update(value as unknown as () => void),
        /TypeError: update\(fn\): fn must be a function/,
      )
      const sync = LockedJSONFileSyncPreset(path, { n: 0 })
      assert.throws(() => sync.update(value as unknown as () => void), TypeError)
    }
    assert.equal(existsSync(path), false)
  })

  for (const id of ['', null, Number.NaN, false, true, {}, [], '__proto__', '$$pslock']) {
    it(`_id ${JSON.stringify(id)}, which NeDB would lose, is a TypeError`, async () => {
      const path = join(room, 'ids.db')
      const db = new LockedNedb({ filename: path, autoload: true })
      await assert.rejects(db.insertAsync({ _id: id as string, a: 1 }), TypeError)
      await assert.rejects(db.insertAsync([{ _id: 'ok' }, { _id: id as string, a: 1 }] as never), TypeError)
      assert.equal(await db.countAsync({}), 0)
      assert.equal(readFileSync(path, 'utf8'), '')
    })
  }

  it('_id 0 is kept', async () => {
    const path = join(room, 'zero.db')
    await new LockedNedb({ filename: path, autoload: true }).insertAsync({ _id: 0 as never, a: 1 })
    assert.equal(await new LockedNedb({ filename: path, autoload: true }).countAsync({ a: 1 }), 1)
  })

  it('two names of one file, through a symbolic link, are one lock', async () => {
    const real = join(room, 'real.db')
    const link = join(room, 'link.db')
    symlinkSync('real.db', link)
    assert.equal(new PsLock(link).path, new PsLock(real).path)
    for (const subject of stores) {
      rmSync(real, { force: true })
      await subject.write(link)
      assert.ok(existsSync(real), subject.name)
      await subject.write(real)
      assert.equal(existsSync(`${link}.lock`), false)
    }
  })

  it('a lock file deleted while held loses nothing: writers exclude each other on the data file too', async () => {
    const filename = join(room, 'held.db')
    const db = new LockedNedb({ filename, autoload: true })
    await db.insertAsync({ first: true })
    let own = 0
    const holding = db.lock.exclusive(async () => {
      unlinkSync(`${filename}.lock`)
      const child = fork(fixture('insert-documents'), [filename, '500'])
      const exited = once(child, 'exit')
      while (child.exitCode === null && child.signalCode === null) {
        await db.insertAsync({ own: own++ })
        await setImmediate()
      }
      assert.deepEqual(await exited, [0, null])
    })
    // What the store did was safe; what else was done in the hold was not.
    await assert.rejects(holding, { code: 'PSLOCK_LOST' })
    assert.equal(await db.countAsync({}), 501 + own)
  })

  it("a file that proper-lockfile has locked (by a folder of our lock file's name) is refused, and says so", async () => {
    const path = join(room, 'db.json')
    writeFileSync(path, '{"n":0}')
    const release = properLockfile.lockSync(path)
    await assert.rejects(lowdb.write(path), { code: 'PSLOCK_UNSUPPORTED', message: /proper-lockfile/ })
    release()
    await lowdb.write(path)
    assert.equal(readFileSync(path, 'utf8'), '{\n  "n": 1\n}')
  })

  it('wrong paths are TypeErrors that show them', () => {
    for (const path of ['', 5, undefined, null, 'a\0b']) {
      assert.throws(() => new PsLock(path as string), {
        name: 'TypeError',
        message: /path must be a non-empty path/,
      })
    }
  })
})
