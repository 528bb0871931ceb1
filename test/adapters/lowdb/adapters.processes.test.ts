import assert from 'node:assert/strict'
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { readFile, writeFile } from 'node:fs/promises'
import { Low, LowSync, Memory, MemorySync } from 'lowdb'
import { JSONFile as VanillaJSONFile, JSONFileSync as VanillaJSONFileSync } from 'lowdb/node'
import {
  JSONFile,
  JSONFileSync,
  LockedJSONFilePreset,
  LockedLow,
  LockedLowSync,
  lowdbAdapter,
} from '../../../adapters/lowdb.ts'
import { PsLockError } from '../../../src/errors.ts'
import { LockedDb } from '../../../src/index.ts'
import { useFolder } from '../../fixtures/folder.ts'
import { failing, fileOf, runScript, untouched } from '../../fixtures/lowdb-tools.ts'

interface Data {
  n: number
  list: string[]
}

/** One `key: json` in a line, as a user's own format might be. */
class LinesFile {
  readonly path: string
  reads = 0
  writes = 0
  constructor(path: string) {
    this.path = path
  }
  protected parse(text: string): Data {
    this.reads++
    const entries = text
      .trimEnd()
      .split('\n')
      .map((line) => {
        const [, key = '', json = ''] = /^(\w+): (.*)$/.exec(line) ?? assert.fail(`no key in ${line}`)
        return [key, JSON.parse(json)]
      })
    return Object.fromEntries(entries) as Data
  }
  protected format(data: Data): string {
    this.writes++
    return Object.entries(data)
      .map(([key, value]) => `${key}: ${JSON.stringify(value)}\n`)
      .join('')
  }
}

class AsyncLinesFile extends LinesFile {
  async read(): Promise<Data | null> {
    return existsSync(this.path) ? this.parse(await readFile(this.path, 'utf8')) : null
  }
  write(data: Data): Promise<void> {
    return writeFile(this.path, this.format(data))
  }
}

class SyncLinesFile extends LinesFile {
  read(): Data | null {
    return existsSync(this.path) ? this.parse(readFileSync(this.path, 'utf8')) : null
  }
  write(data: Data): void {
    writeFileSync(this.path, this.format(data))
  }
}

const empty = (): Data => ({ n: 0, list: [] })

describe('lowdb adapters', () => {
  const at = useFolder()

  it("pslock's JSONFile and JSONFileSync are lowdb's own, and know their path", async () => {
    const [file, sync] = [
      new JSONFile<Data>(at('db.json')),
      new JSONFileSync<Data>(new URL(`file://${at('db.json')}`)),
    ]
    assert.ok(file instanceof VanillaJSONFile && sync instanceof VanillaJSONFileSync)
    assert.deepEqual([file.path, sync.path], [at('db.json'), at('db.json')])
    await file.write(empty())
    assert.deepEqual(sync.read(), empty())
    sync.write({ n: 1, list: [] })
    assert.deepEqual(await file.read(), { n: 1, list: [] })
  })

  it('an adapter that does not know its path is a TypeError that says so', () => {
    const vanilla = new VanillaJSONFile<Data>(at('db.json'))
    const sync = new VanillaJSONFileSync<Data>(at('db.json'))
    for (const run of [() => new LockedLow(vanilla, empty()), () => new LockedLowSync(sync, empty())]) {
      assert.throws(
        run,
        (error: Error) =>
          error instanceof TypeError && /path/.test(error.message) && /JSONFile/.test(error.message),
      )
    }
    for (const path of [7, null, {}, '']) {
      assert.throws(
        () => new LockedLow(Object.assign(new VanillaJSONFile<Data>(at('x')), { path }) as never, empty()),
        TypeError,
      )
    }
  })

  it("lowdb's own adapter works when it is given its path", async () => {
    const adapter = Object.assign(new VanillaJSONFile<Data>(at('db.json')), { path: at('db.json') })
    const [a, b] = [new LockedLow(adapter, empty()), new LockedLow<Data>(at('db.json'), empty())]
    for (let i = 0; i < 5; i++) await Promise.all([a, b].map((db) => db.update((data) => void data.n++)))
    assert.equal(fileOf(at('db.json')).n, 10)
  })

  it('Memory and MemorySync pass through', async () => {
    const db = new LockedLow<Data>(new Memory<Data>(), empty())
    const sync = new LockedLowSync<Data>(new MemorySync<Data>(), empty())
    await db.update((data) => void data.n++)
    sync.update((data) => void data.n++)
    await db.write()
    db.data = { n: 5, list: [] }
    await db.read()
    assert.deepEqual([db.data.n, sync.data.n], [1, 1])
    await db.close()
    await sync.close()
  })

  it('a format of one’s own is read and written by its own adapter, async and sync', async () => {
    const [one, two, three] = [
      new AsyncLinesFile(at('db.txt')),
      new AsyncLinesFile(at('db.txt')),
      new SyncLinesFile(at('db.txt')),
    ]
    const [a, b] = [new LockedLow<Data>(one, empty()), new LockedLow<Data>(two, empty())]
    const c = new LockedLowSync<Data>(three, empty())
    await Promise.all(Array.from({ length: 30 }, (_, i) => (i % 2 ? a : b).update((data) => void data.n++)))
    c.update((data) => void data.n++)
    assert.equal(readFileSync(at('db.txt'), 'utf8'), 'n: 31\nlist: []\n')
    a.data.list.push('a')
    b.data.list.push('b')
    c.data.list.push('c')
    await a.write()
    await b.write()
    c.write()
    assert.equal(readFileSync(at('db.txt'), 'utf8'), 'n: 31\nlist: ["a","b","c"]\n')
    writeFileSync(at('db.txt'), 'n: 50\nlist: []\n')
    await a.read()
    c.read()
    assert.deepEqual(
      [a.data, c.data],
      [
        { n: 50, list: [] },
        { n: 50, list: [] },
      ],
    )
    const reads = one.reads
    await a.read()
    assert.equal(one.reads, reads, 'a file that has not changed is not read again')
  })

  it('a text that an adapter of one’s own does not understand is a typed error, and nothing is overwritten', async () => {
    writeFileSync(at('db.txt'), 'what is this?\n')
    const db = new LockedLow<Data>(new AsyncLinesFile(at('db.txt')), empty())
    const sync = new LockedLowSync<Data>(new SyncLinesFile(at('db.txt')), empty())
    for (const run of [
      () => db.read(),
      () => db.update((data) => void data.n++),
      () => sync.update(() => {}),
    ]) {
      const error = await untouched(at('db.txt'), () => failing(run))
      assert.ok(error instanceof PsLockError, `${error}`)
      assert.equal(error.code, 'PSLOCK_CORRUPT')
    }
  })

  it('an adapter that rejects a write leaves memory as it was, and its own error is the cause', async () => {
    const adapter = new AsyncLinesFile(at('db.txt'))
    const db = new LockedLow<Data>(adapter, empty())
    await db.update((data) => void data.n++)
    const good = adapter.write.bind(adapter)
    const refused = new Error('not today')
    adapter.write = () => Promise.reject(refused)
    const error = await untouched(at('db.txt'), () => failing(() => db.update((data) => void data.n++)))
    assert.equal(error.cause, refused)
    assert.equal(db.data.n, 1)
    db.data.list.push('mine')
    await failing(() => db.write())
    assert.deepEqual(db.data.list, ['mine'])
    adapter.write = good
    await db.write()
    assert.equal(readFileSync(at('db.txt'), 'utf8'), 'n: 1\nlist: ["mine"]\n')
  })

  it('an adapter that gives undefined for nothing, as lowdb tolerates, starts from the default data', async () => {
    writeFileSync(at('db.txt'), '')
    const adapter = { path: at('db.txt'), read: async () => undefined as never, write: async () => {} }
    const db = new LockedLow<Data>(adapter, empty())
    await db.read()
    assert.deepEqual(db.data, empty())
  })

  for (const [what, make] of [
    ['Low with the JSONFile of pslock', (path: string) => new Low<Data>(new JSONFile(path), empty())],
    ['Low with the JSONFile of lowdb', (path: string) => new Low<Data>(new VanillaJSONFile(path), empty())],
  ] as const) {
    it(`new LockedDb(${what}, { adapter: lowdbAdapter }) works like LockedLow`, async () => {
      const path = at('db.json')
      const db = new LockedDb(make(path) as Low<unknown>, {
        adapter: lowdbAdapter,
        path,
      }) as unknown as LockedLow<Data>
      const other = await LockedJSONFilePreset<Data>(path, empty())
      await Promise.all(
        Array.from({ length: 20 }, (_, i) => (i % 2 ? db : other).update((data) => void data.n++)),
      )
      db.data.list.push('mine')
      await db.write()
      await other.read()
      assert.deepEqual(other.data, { n: 20, list: ['mine'] })
      await untouched(path, () =>
        failing(() =>
          db.update(() => {
            throw new Error('no')
          }),
        ),
      )
      await db.lock.exclusive(() => db.update((data) => void data.n++))
      assert.equal(fileOf(path).n, 21)
      assert.equal(
        await db.lock.shared(() => failing(() => db.write())).then(({ code }) => code),
        'PSLOCK_UPGRADE',
      )
      await db.close()
      assert.equal((await failing(() => db.read())).code, 'PSLOCK_CLOSED')
    })
  }

  it('new LockedDb(LowSync) works like LockedLowSync', () => {
    const path = at('db.json')
    const low = new LowSync<Data>(new JSONFileSync(path), empty())
    const db = new LockedDb(low as LowSync<unknown>, {
      adapter: lowdbAdapter,
      path,
    }) as unknown as LockedLowSync<Data>
    const other = new LockedLowSync<Data>(path, empty())
    for (let i = 0; i < 10; i++) (i % 2 ? db : other).update((data) => void data.n++)
    assert.equal(fileOf(path).n, 10)
  })

  it('new LockedDb(LowSync): a blocking write inside a transaction or a view is refused, where it was lost or escaped', async () => {
    const path = at('db.json')
    const db = new LockedDb(new LowSync<Data>(new JSONFileSync(path), empty()), {
      adapter: lowdbAdapter,
      path,
    })
    db.write()
    const store: LowSync<Data> = db
    const add = () => store.update((data) => void data.list.push('x'))
    for (const write of [add, () => store.write()]) {
      const later = async () => {
        await undefined
        write()
      }
      const afterAnEdit = (tx: { data: Data }) => {
        tx.data.n++
        write()
      }
      const runs = [
        () => db.transaction(write),
        () => db.transaction(later),
        () => db.transaction(afterAnEdit),
        () => db.rollbackAfter(write),
        () => db.transaction(() => db.transaction(write)),
        () => db.view(write),
        () => db.view(later),
      ]
      for (const run of runs) {
        await untouched(path, async () => assert.equal((await failing(run)).code, 'PSLOCK_TRANSACTION'))
        assert.deepEqual(db.data, empty())
      }
    }
    await db.transaction((tx) => {
      tx.data.n = 1
      store.read()
      assert.equal(tx.data.n, 1)
      tx.data.list.push('kept')
    })
    add()
    assert.deepEqual(fileOf(path), { n: 1, list: ['kept', 'x'] })
    await db.close()
  })

  it('under NODE_ENV=test the presets are on disk, unless memoryInTest asks for memory', () => {
    for (const [env, where, there] of [
      ['test', 'disk', true],
      ['test', 'memory', false],
      ['production', 'memory', true],
    ] as const) {
      const path = at(`${env}-${where}.json`)
      const { code, err } = runScript('lowdb-script', ['preset', path, where], [], { NODE_ENV: env })
      assert.equal(code, 0, err)
      assert.equal(existsSync(path), there, `${env} ${where}`)
      if (there) assert.equal(fileOf(path).n, 2)
    }
  })
})
