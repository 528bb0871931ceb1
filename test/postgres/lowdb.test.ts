import assert from 'node:assert/strict'
import { Low, LowSync, Memory } from 'lowdb'
import {
  JSONFile,
  JSONFileSync,
  LockedJSONFilePreset,
  LockedJSONFileSyncPreset,
  LockedLow,
  LockedLowSync,
  lowdbAdapter,
} from '../../adapters/lowdb.ts'
import {
  ConflictError,
  CorruptStoreError,
  LockedDb,
  LockTimeoutError,
  StoreUnavailableError,
  TransactionError,
} from '../../src/index.ts'
import { useFolder } from '../fixtures/folder.ts'
import { Shelf, shelfAdapter } from '../fixtures/locked-db-shelf.ts'
import { failing } from '../fixtures/lowdb-tools.ts'
import { usePostgres } from '../harness/postgres.ts'

interface Data {
  n: number
  list: string[]
  more?: Record<string, unknown>
}

describe('lowdb on a server', () => {
  const server = usePostgres()
  let url = ''
  let stores = 0
  let name = ''
  const opened: { close(): Promise<void> }[] = []
  before(async () => {
    url = await server().database()
  })
  beforeEach(() => {
    name = `store ${++stores}`
  })
  afterEach(() => Promise.all(opened.splice(0).map((store) => store.close())))

  const low = (options = {}, defaultData: Data = { n: 0, list: [] }) => {
    const db = new LockedLow<Data>({ url, name, ...options }, defaultData)
    opened.push(db)
    return db
  }
  const rows = (what: string) =>
    server().sql(`select ${what} where store = (select id from pslock.store where name = '${name}')`, url)

  it('begins with the default data, which others need not share', async () => {
    const [one, other] = [low(), low({}, { n: 7, list: ['x'] })]
    await Promise.all([one.read(), other.read()])
    assert.deepEqual(
      [one.data, other.data],
      [
        { n: 0, list: [] },
        { n: 7, list: ['x'] },
      ],
    )
    assert.deepEqual(await rows('seq from pslock.image'), [])
    await one.update((data) => {
      data.list.push('a')
    })
    await other.read()
    assert.deepEqual(other.data, { n: 0, list: ['a'] })
  })

  it('stores what an update changes, and not all of it', async () => {
    const db = low()
    await db.update((data) => {
      data.list = Array.from({ length: 500 }, (_, i) => `entry ${i}`)
    })
    const { list } = db.data
    await db.update((data) => {
      data.n = 5
    })
    assert.deepEqual(await rows('seq, changes from pslock.unit'), [['2', '[["=",["n"],5]]']])
    assert.equal(db.data.list, list, 'containers are the same after an update')
  })

  it('updates that are issued together are one commit, of which one that throws is no part', async () => {
    const db = low()
    await db.update(() => {})
    const outcomes = await Promise.allSettled(
      [1, 2, 3].map((n) =>
        db.update((data) => {
          data.n += n
          data.list.push(String(n))
          if (n === 2) throw new RangeError('no')
        }),
      ),
    )
    assert.deepEqual(
      outcomes.map(({ status }) => status),
      ['fulfilled', 'rejected', 'fulfilled'],
    )
    assert.deepEqual(db.data, { n: 4, list: ['1', '3'] })
    const other = low()
    await other.read()
    assert.deepEqual(other.data, db.data)
    assert.equal((await rows('seq from pslock.unit')).length, 1)
  })

  it('an update that throws changes nothing', async () => {
    const db = low()
    await db.update((data) => {
      data.n = 1
    })
    const before = await rows('* from pslock.unit')
    await assert.rejects(
      db.update((data) => {
        data.n = 2
        throw new RangeError('no')
      }),
      RangeError,
    )
    assert.equal(db.data.n, 1)
    assert.deepEqual(await rows('* from pslock.unit'), before)
  })

  it('a transaction in a transaction undoes its own part', async () => {
    const [db, other] = [low(), low()]
    const value = await db.transaction(async (tx) => {
      tx.data.n = 1
      await failing(() =>
        tx.transaction((inner) => {
          inner.data.n = 2
          throw new Error('undone')
        }),
      )
      await tx.update((data) => {
        data.list.push('in')
      })
      await other.read()
      assert.deepEqual(other.data, { n: 0, list: [] })
      return tx.data.n
    })
    await other.read()
    assert.deepEqual([value, db.data, other.data], [1, { n: 1, list: ['in'] }, { n: 1, list: ['in'] }])
  })

  it('an optimistic transaction that somebody else comes between is a conflict, and is run again', async () => {
    const [db, other] = [low(), low()]
    await db.update(() => {})
    let runs = 0
    const run = (retry: number) =>
      db.transaction(
        async (tx) => {
          const { n } = tx.data
          if (runs++ === 0)
            await other.update((data) => {
              data.n += 10
            })
          tx.data.n = n + 1
        },
        { retry },
      )
    assert.ok((await failing(() => run(0))) instanceof ConflictError)
    runs = 0
    await run(3)
    assert.deepEqual([runs, db.data.n], [2, 21])
  })

  it('a view sees one state, and nothing can be changed in it', async () => {
    const [db, other] = [low(), low()]
    await db.view(async (tx) => {
      await other.update((data) => {
        data.n = 3
      })
      assert.equal(tx.data.n, 0)
      assert.throws(() => {
        ;(tx.data as Data).n = 4
      }, TransactionError)
    })
    await db.read()
    assert.equal(db.data.n, 3)
  })

  it('a bare write, and a change outside of updates, are refused', async () => {
    const db = low()
    await db.read()
    assert.throws(() => {
      db.data.n = 1
    }, TransactionError)
    await assert.rejects(db.write(), TransactionError)
  })

  it('keeps texts that PostgreSQL has no text with', async () => {
    const [db, other] = [low(), low()]
    const odd = { nul: 'a\0b', half: '\ud800 \udfff', quotes: '\\"\'', 'key\0': 1e308, __proto__x: null }
    await db.update((data) => {
      data.more = odd
    })
    await db.update((data) => {
      data.list.push('\0', '\ud83d')
    })
    await other.read()
    assert.deepEqual(other.data, { n: 0, list: ['\0', '\ud83d'], more: odd })
    await db.checkpoint()
    const fresh = low()
    await fresh.read()
    assert.deepEqual(fresh.data, other.data)
  })

  it('a checkpoint writes the text, and nobody who knows the one before reads it all', async () => {
    const [db, other] = [low(), low()]
    const add = (n: number) =>
      db.update((data) => {
        data.n += n
      })
    for (let n = 1; n <= 4; n++) await add(n)
    await other.read()
    const { list } = other.data
    await db.checkpoint()
    await db.checkpoint()
    assert.deepEqual(await rows('seq from pslock.image'), [['4']])
    await add(5)
    await db.checkpoint()
    assert.deepEqual(await rows('seq, text from pslock.image'), [['5', JSON.stringify(db.data, null, 2)]])
    assert.deepEqual(await rows('seq from pslock.unit'), [['5']])
    await other.read()
    assert.deepEqual([other.data.n, other.data.list === list], [15, true])
  })

  it('what has outgrown its text is written anew by itself', async () => {
    const db = low()
    for (let i = 0; i < 30; i++) {
      await db.update((data) => {
        data.more = { text: String(i).repeat(5000) }
      })
    }
    const [[image] = []] = await rows('seq from pslock.image')
    assert.ok(Number(image) > 5, `image ${image}`)
    const [[length] = []] = await rows('sum(length(changes)) from pslock.unit')
    assert.ok(Number(length) < 200_000, `${length} characters of units`)
    const fresh = low()
    await fresh.read()
    assert.deepEqual(fresh.data, db.data)
  })

  it('has tables, whose schemas change in one commit with the records', async () => {
    const [db, other] = [low(), low()]
    const people = db.table<{ name: string; age: number }, 'age'>('people')
    await people.create({ name: 'string', age: { type: 'number', default: 7 } })
    await people.insert([{ name: 'Ada' }, { name: 'Bob', age: 20 }])
    const seen = other.table<{ name: string; age: number; city: string }>('people')
    assert.deepEqual(
      (await seen.select()).map(({ name, age }) => [name, age]),
      [
        ['Ada', 7],
        ['Bob', 20],
      ],
    )
    await failing(() => seen.insert({ name: 7 } as never))
    await seen.addField('city', { type: 'string', default: 'Rome' })
    await people.insert({ name: 'Cid', age: 1 })
    assert.deepEqual(
      (await people.select()).map((person) => (person as { city?: string }).city),
      ['Rome', 'Rome', 'Rome'],
    )
    await db.checkpoint()
    const fresh = low()
    assert.equal((await fresh.table<{ city: string }>('people').select({ city: 'Rome' })).length, 3)
    await people.destroy()
    assert.ok(!('people' in (await other.view((tx) => tx.data))))
    await failing(() => seen.select())
  })

  it('a table that cannot be changed leaves records and schema as they were', async () => {
    const db = low()
    const people = db.table<{ name: string }>('people')
    await people.create({ name: 'string' })
    await people.insert({ name: 'Ada' })
    const older = db.table<{ name: string; age: number }>('people')
    await server().sql(
      `create function refuse() returns trigger language plpgsql as 'begin raise exception ''no''; end';
       create trigger refuse before update on pslock.doc for each row execute function refuse()`,
      url,
    )
    await failing(() => older.addField('age', { type: 'number', default: 1 }))
    await server().sql('drop trigger refuse on pslock.doc; drop function refuse', url)
    for (const store of [db, low()]) {
      const [ada] = await store.table<{ name: string }>('people').select()
      assert.deepEqual(Object.keys(ada ?? {}).sort(), ['_id', '_version', 'name'])
    }
    await older.addField('age', { type: 'number', default: 1 })
    assert.equal(((await people.select())[0] as { age?: number }).age, 1)
  })

  it('waits for the lock for so long', async () => {
    const [db, other] = [low(), low({ timeoutMs: 150 })]
    await db.transaction(async () => {
      const error = await failing(() => other.update(() => {}))
      assert.ok(error instanceof LockTimeoutError)
      assert.ok((error.waitedMs as number) >= 140)
    })
    await other.update(() => {})
  })

  it('is shown without a question for as long as staleMs says', async () => {
    const [db, stale] = [low(), low({ staleMs: 60_000 })]
    await stale.read()
    await db.update((data) => {
      data.n = 1
    })
    await stale.read()
    assert.equal(stale.data.n, 0)
    await stale.update((data) => {
      data.n++
    })
    assert.equal(stale.data.n, 2)
  })

  it('what was removed or damaged by something else is a CorruptStoreError, and is not written to', async () => {
    const db = low()
    await db.update(() => {})
    const add = () =>
      db.update((data) => {
        data.n++
      })
    await add()
    await add()
    const id = `(select id from pslock.store where name = '${name}')`
    const fails = async (use = low()) =>
      assert.ok((await failing(() => use.read())) instanceof CorruptStoreError)
    await server().sql(`update pslock.unit set changes = '[[' where seq = 3 and store = ${id}`, url)
    await fails()
    await server().sql(
      `update pslock.unit set changes = '[["~",["n"],0,1,[]]]' where seq = 3 and store = ${id}`,
      url,
    )
    await fails()
    await server().sql(`delete from pslock.unit where seq = 2 and store = ${id}`, url)
    await fails()
    await server().sql(`delete from pslock.unit where store = ${id}`, url)
    await fails()
    await server().sql(`update pslock.image set seq = 3, text = '{' where store = ${id}`, url)
    await fails()
    await server().sql(`delete from pslock.image where store = ${id}`, url)
    await fails()
    await server().sql(`delete from pslock.store where id = ${id}`, url)
    await fails(db)
    assert.ok((await failing(add)) instanceof CorruptStoreError)
  })

  it('a server that is not there is a StoreUnavailableError', async () => {
    const nowhere = 'postgres://nobody:secret@127.0.0.1:1/none'
    const db = new LockedLow<Data>({ url: nowhere, name, timeoutMs: 200 }, { n: 0, list: [] })
    for (const run of [() => db.read(), () => db.update(() => {})]) {
      const error = await failing(run)
      assert.ok(error instanceof StoreUnavailableError)
      assert.doesNotMatch(`${error.message} ${error.stack}`, /secret/)
    }
  })

  it('a store of documents is no tree, and a text is none either', async () => {
    const shelf = new LockedDb(new Shelf(), { adapter: shelfAdapter, url, name })
    await shelf.add('a')
    const db = low()
    for (const run of [() => db.read(), () => db.update(() => {})])
      assert.match((await failing(run)).message, /store of another kind: image, not tree/)
    await shelf.close()
  })

  it('the presets open it, and keep it in memory where that is asked', async () => {
    const db = await LockedJSONFilePreset({ url: new URL(`${url}#${encodeURIComponent(name)}`) }, { n: 1 })
    await db.update((data) => {
      data.n++
    })
    await db.close()
    const other = await LockedJSONFilePreset({ url, name }, { n: 1 }, { timeoutMs: 1000 })
    assert.equal(other.data.n, 2)
    await other.close()
    const { NODE_ENV } = process.env
    process.env.NODE_ENV = 'test'
    try {
      const memory = await LockedJSONFilePreset({ url, name }, { n: 1 }, { memoryInTest: true })
      assert.ok(memory.adapter instanceof Memory)
    } finally {
      process.env.NODE_ENV = NODE_ENV
    }
  })

  describe('with LockedDb', () => {
    it('lowdb', async () => {
      const open = () => {
        const plain = new Low<Data>(new JSONFile<Data>('not-used.json'), { n: 0, list: [] })
        const db = new LockedDb(plain, { adapter: lowdbAdapter, url, name })
        opened.push(db)
        return db
      }
      const [db, other] = [open(), open()]
      await db.update((data: Data) => {
        data.n = 8
      })
      await other.read()
      assert.equal(other.data.n, 8)
    })

    it('a store whose content is one text, which is replaced', async () => {
      const open = () => {
        const db = new LockedDb(new Shelf(), { adapter: shelfAdapter, url, name })
        opened.push(db)
        return db
      }
      const [db, other] = [open(), open()]
      await db.addAll(['1', '2'])
      await other.addNumber()
      assert.deepEqual(await db.list(), ['1', '2', '3'])
      await failing(() => db.addAll(['4', '']))
      await db.transaction(async (tx) => {
        await tx.add('4')
        await failing(() => tx.addAll(['5', '']))
      })
      assert.deepEqual(await other.list(), ['1', '2', '3', '4'])
      assert.deepEqual(await rows('seq, text from pslock.image'), [['3', '1\n2\n3\n4\n']])
      assert.deepEqual(await rows('* from pslock.unit'), [])
    })

    it('a text that the server cannot keep is a TypeError, and nothing is changed', async () => {
      const db = new LockedDb(new Shelf(), { adapter: shelfAdapter, url, name })
      opened.push(db)
      await db.add('a')
      for (const odd of ['b\0', 'c\ud800']) {
        const error = await failing(() => db.add(odd))
        assert.ok(error instanceof TypeError)
        assert.match(error.message, /cannot be kept on a server/)
      }
      assert.deepEqual(await db.list(), ['a'])
      await db.add('\u{1f600}')
      assert.deepEqual(await db.list(), ['a', '\u{1f600}'])
    })
  })
})

describe('the options of lowdb on a server', () => {
  const at = useFolder()
  const url = 'postgres://user:secret@db.example.com/app'
  const refused: [string, () => unknown, RegExp][] = [
    [
      'a sync store',
      () => new LockedLowSync({ url, name: 'a' } as never, {}),
      /synchronous.*network.*LockedLow/,
    ],
    [
      'a sync store, by an option',
      () => new LockedLowSync(at('f'), {}, { url, name: 'a' } as never),
      /not both/,
    ],
    ['the sync preset', () => LockedJSONFileSyncPreset({ url, name: 'a' } as never, {}), /synchronous/],
    [
      'a sync store in LockedDb',
      () =>
        new LockedDb(new LowSync<object>(new JSONFileSync(at('f')), {}), {
          adapter: lowdbAdapter,
          url,
          name: 'a',
        }),
      /synchronous.*network/,
    ],
    ['a path besides', () => new LockedLow(at('f'), {}, { url, name: 'a' }), /not both/],
    ['a path in it', () => new LockedLow({ url, name: 'a', path: at('f') } as never, {}), /give path or url/],
    [
      'a path besides, LockedDb',
      () => new LockedDb(new Shelf(), { adapter: shelfAdapter, path: at('f'), url } as never),
      /give path or url/,
    ],
    [
      'neither, LockedDb',
      () => new LockedDb(new Shelf(), { adapter: shelfAdapter } as never),
      /path must be/,
    ],
    ['an adapter besides', () => new LockedLow(new Memory<object>(), {}, { url, name: 'a' }), /not both/],
    ['a name without a url', () => new LockedLow(at('f'), {}, { name: 'a' }), /give a url with it/],
    ['no name', () => new LockedLow({ url }, {}), /name must be/],
    [
      'a url that is none',
      () => new LockedLow({ url: 'mysql://u:secret@h/d', name: 'a' }, {}),
      /url must begin/,
    ],
    ['a url as the path', () => new LockedLow(url, {}), /give \{ url, name \}/],
    ['the same, a URL', () => new LockedLow(new URL(url), {}), /give \{ url, name \}/],
    [
      'journal',
      () => new LockedLow({ url, name: 'a' }, {}, { journal: true }),
      /journal is for a store in a file/,
    ],
    [
      'lockPath',
      () => new LockedLow({ url, name: 'a' }, {}, { lockPath: 'x' }),
      /lockPath is for a store in a file/,
    ],
    [
      'sliceMs',
      () => new LockedLow({ url, name: 'a', sliceMs: 5 } as never, {}),
      /sliceMs is for a store in a file/,
    ],
    ['a mistyped one', () => new LockedLow({ url, nmae: 'a' } as never, {}), /nmae.*name/],
    [
      'a mistyped one, LockedDb',
      () => new LockedDb(new Shelf(), { adapter: shelfAdapter, url, nam: 'a' } as never),
      /nam/,
    ],
    [
      'a wrong durability',
      () => new LockedLow({ url, name: 'a', durability: 'disc' as never }, {}),
      /durability/,
    ],
  ]
  for (const [what, make, message] of refused) {
    it(`${what}: a TypeError`, () => {
      assert.throws(make, (error: Error) => {
        assert.ok(error instanceof TypeError)
        assert.match(error.message, message)
        assert.doesNotMatch(error.message, /secret/)
        return true
      })
    })
  }
})
