import assert from 'node:assert/strict'
import { createRequire } from 'node:module'
import type Vanilla from '@seald-io/nedb'
import { Low, LowSync } from 'lowdb'
import VanillaPromises from 'nedb-promises'
import {
  JSONFile,
  JSONFileSync,
  LockedJSONFilePreset,
  LockedJSONFileSyncPreset,
  LockedLow,
  LockedLowSync,
  lowdbAdapter,
} from '../../adapters/lowdb.ts'
import { LockedNedb, nedbAdapter } from '../../adapters/nedb.ts'
import { LockedDatastore, nedbPromisesAdapter } from '../../adapters/nedb-promises.ts'
import { type DeepReadonly, type ImageAdapter, LockedDb, type ViewOf } from '../../src/index.ts'
import { useFolder } from '../fixtures/folder.ts'
import { Shelf } from '../fixtures/locked-db-shelf.ts'
import { failing } from '../fixtures/lowdb-tools.ts'
import type { Same } from '../fixtures/same-type.ts'

interface Post {
  id: number
  title: string
  tags: string[]
}

interface Data {
  n: number
  posts: Post[]
  pages: Record<string, { text: string; at?: { x: number; y: number } }>
  pair: [number, { deep: boolean }]
  either: { kind: 'a'; items: number[] } | { kind: 'b' } | null
  maybe?: string
}

const data = (): Data => ({
  n: 0,
  posts: [
    { id: 2, title: 'first', tags: ['new'] },
    { id: 1, title: 'second', tags: [] },
  ],
  pages: { home: { text: 'hello' } },
  pair: [1, { deep: true }],
  either: { kind: 'a', items: [1] },
})

interface Doc {
  _id: string
  n: number
}

function vanillaNedb(): typeof Vanilla.default {
  return createRequire(import.meta.url)('@seald-io/nedb') as typeof Vanilla.default
}

/** Asked of `view` one by one: that each is refused is for the compiler to say as well. */
type Writes<V> = readonly ((tx: V) => unknown)[]

/** @param code undefined: V8 refuses to change what is frozen */
async function refusesAll<V>(
  view: (run: (tx: V) => unknown) => unknown,
  writes: Writes<V>,
  code?: 'PSLOCK_TRANSACTION',
): Promise<void> {
  for (const write of writes) {
    const failed = await failing(async () => view(write))
    assert.ok(
      code ? 'code' in failed && failed.code === code : failed instanceof Error,
      `${write}: ${failed}`,
    )
  }
}

const REFUSED = 'PSLOCK_TRANSACTION'

/** What would write inside a view is a type error, and at run time the error that it always was. */
describe('view, in types', () => {
  const at = useFolder()

  const edits: Writes<{ readonly data: DeepReadonly<Data> }> = [
    // @ts-expect-error
    ({ data }) => data.n++,
    // @ts-expect-error
    ({ data }) => data.posts.push({ id: 2, title: '', tags: [] }),
    // @ts-expect-error
    ({ data }) => data.posts.sort(),
    // @ts-expect-error
    ({ data }) => data.posts[0]?.tags.pop(),
    // @ts-expect-error
    ({ data }) => delete data.pages.home,
    // @ts-expect-error
    ({ data }) => data.either?.kind === 'a' && data.either.items.push(2),
    ({ data }) => {
      // @ts-expect-error
      data.posts = []
    },
    ({ data }) => {
      // @ts-expect-error
      data.posts[0] = { id: 2, title: '', tags: [] }
    },
    ({ data }) => {
      // @ts-expect-error
      data.posts[0].title = 'second'
    },
    ({ data }) => {
      // @ts-expect-error
      data.pages.home = { text: '' }
    },
    ({ data }) => {
      // @ts-expect-error
      data.pair[1].deep = false
    },
    ({ data }) => {
      // @ts-expect-error
      data.maybe = ''
    },
  ]

  it('pslock/lowdb: the data are read-only down to the last member', async () => {
    const db = new LockedLow(at('db.json'), data())
    const journal = new LockedLow(at('journal.json'), data(), { journal: true })
    const preset = await LockedJSONFilePreset(at('preset.json'), data())
    const stores = [db, journal, preset]
    for (const store of stores) {
      await refusesAll((run) => store.view(run), edits)
      await refusesAll((run) => store.view(run), lowWrites(), REFUSED)
      await store.view(async (tx) => {
        await tx.read()
        assert.equal(await tx.view((inner) => inner.data.n), 0)
        assert.deepEqual([tx.lock, tx.table<Doc>('t').name], [store.lock, 't'])
      })
      await store.close()
    }
  })

  function lowWrites(): Writes<ViewOf<LockedLow<Data>>> {
    return [
      (tx) => {
        // @ts-expect-error
        tx.data = data()
      },
      // @ts-expect-error
      (tx) => tx.write(),
      // @ts-expect-error
      (tx) => tx.update(() => {}),
      // @ts-expect-error
      (tx) => tx.checkpoint(),
      // @ts-expect-error
      (tx) => tx.transaction(() => {}),
      // @ts-expect-error
      (tx) => tx.rollbackAfter(() => {}),
      // @ts-expect-error
      (tx) => tx.dump(at('dump')),
      // @ts-expect-error
      (tx) => tx.restore(at('dump')),
      // @ts-expect-error
      (tx) => tx.close(),
      // @ts-expect-error
      (tx) => tx.table<{ a: number }>('t').insert({ a: 1 }),
    ]
  }

  it('pslock/lowdb, blocking: the same', async () => {
    for (const store of [
      new LockedLowSync(at('db.json'), data()),
      LockedJSONFileSyncPreset(at('preset.json'), data()),
    ]) {
      await refusesAll((run) => store.view(run), edits)
      await refusesAll<ViewOf<LockedLowSync<Data>>>(
        (run) => store.view(run),
        [
          (tx) => {
            // @ts-expect-error
            tx.data = data()
          },
          // @ts-expect-error
          (tx) => tx.write(),
          // @ts-expect-error
          (tx) => tx.update(() => {}),
          // @ts-expect-error
          (tx) => tx.transaction(() => {}),
          // @ts-expect-error
          (tx) => tx.rollbackAfter(() => {}),
        ],
        REFUSED,
      )
      const title: string | undefined = store.view((tx) => tx.view((inner) => inner.data.posts[0]?.title))
      assert.equal(title, 'first')
    }
  })

  it('LockedDb with the adapter of lowdb: the same', async () => {
    const async = new LockedDb(new Low(new JSONFile<Data>(at('a.json')), data()), {
      adapter: lowdbAdapter,
      path: at('a.json'),
    })
    const sync = new LockedDb(new LowSync(new JSONFileSync<Data>(at('b.json')), data()), {
      adapter: lowdbAdapter,
      path: at('b.json'),
    })
    await refusesAll((run) => async.view(run), edits)
    await refusesAll((run) => sync.view(run), edits)
    // @ts-expect-error
    await refusesAll((run) => async.view(run), [(tx) => tx.write()], REFUSED)
    // @ts-expect-error
    await refusesAll((run) => sync.view(run), [(tx) => tx.write()], REFUSED)
    const n: number = (await async.view((tx) => tx.data.n)) + (await sync.view((tx) => tx.data.n))
    assert.equal(n, 0)
    await async.close()
    await sync.close()
  })

  it('what a view gives back is of the type that it has', async () => {
    const db = new LockedLow(at('db.json'), data())
    const n: number = await db.view((tx) => tx.data.n)
    const titles: string[] = await db.view(async (tx) => tx.data.posts.map(({ title }) => title))
    const sorted: DeepReadonly<Post>[] = await db.view((tx) => [...tx.data.posts].sort((a, b) => a.id - b.id))
    const copy = await db.view((tx) => structuredClone(tx.data.posts[0]) as Post | undefined)
    const { text } = await db.view((tx) => tx.data.pages.home as Data['pages'][string])
    assert.deepEqual(
      [n, titles, sorted.length, copy?.tags, text],
      [0, ['first', 'second'], 2, ['new'], 'hello'],
    )
    const whole = await db.view((tx) => tx.data)
    const isReadOnly: Same<typeof whole, DeepReadonly<Data>> = true
    const unknown = await new LockedLow<unknown>(at('db.json'), {}).view((tx) => tx.data)
    const isUnknown: Same<typeof unknown, unknown> = true
    assert.ok(isReadOnly && isUnknown)
    const first = async <T>(file: string, item: T): Promise<DeepReadonly<T> | undefined> =>
      new LockedLow<{ list: T[] }>(file, { list: [item] }).view((tx) => tx.data.list[0])
    assert.equal(await first(at('list.json'), 'a'), 'a')
    await db.close()
  })

  it('data of a type that contains itself, of tuples and of what is read-only already are no trouble', async () => {
    type Json = string | number | boolean | null | Json[] | { [name: string]: Json }
    interface Node {
      name: string
      children: Node[]
      above?: Node
    }
    interface Odd {
      json: Json
      node: Node
      open: [string, ...number[]]
      optional: [string, number?]
      fixed: readonly { readonly a: number[] }[]
      id: string & { readonly brand: 'id' }
    }
    const odd = { json: [{ a: [1] }], node: { name: 'a', children: [] }, open: ['a', 1], optional: ['a'] }
    const db = new LockedLow<Odd>(at('odd.json'), { ...(odd as object as Odd), fixed: [{ a: [1] }] })
    const json = await db.view((tx) => tx.data.json)
    const name: string | undefined = await db.view((tx) => tx.data.node.children[0]?.children[0]?.above?.name)
    const first: string = await db.view((tx) => tx.data.open[0])
    const second: number | undefined = await db.view((tx) => tx.data.optional[1])
    const id: Odd['id'] = await db.view((tx) => tx.data.id)
    assert.deepEqual([json, name, first, second, id], [odd.json, undefined, 'a', undefined, undefined])
    const edits: Writes<ViewOf<typeof db>> = [
      // @ts-expect-error
      ({ data }) => data.node.children.push(data.node),
      // @ts-expect-error
      ({ data }) => data.open.push(1),
      // @ts-expect-error
      ({ data }) => data.fixed[0]?.a.push(1),
      ({ data }) => {
        // @ts-expect-error
        data.json[0] = 1
      },
      ({ data }) => {
        // @ts-expect-error
        data.open[1] = 2
      },
    ]
    await refusesAll((run) => db.view(run), edits)
    await db.close()
  })

  it('pslock/nedb: there is nothing that writes', async () => {
    const db = new LockedNedb<Doc>({ filename: at('store.db'), autoload: true })
    const generic = new LockedDb(new (vanillaNedb())<Doc>({ filename: at('generic.db') }), {
      adapter: nedbAdapter,
      path: at('generic.db'),
    })
    await generic.loadDatabaseAsync()
    type View = ViewOf<typeof db> | ViewOf<typeof generic>
    const writes: Writes<View> = [
      // @ts-expect-error
      (tx) => tx.insertAsync({ _id: 'a', n: 1 }),
      // @ts-expect-error
      (tx) => tx.updateAsync({}, { $inc: { n: 1 } }, {}),
      // @ts-expect-error
      (tx) => tx.removeAsync({}, {}),
      // @ts-expect-error
      (tx) => tx.ensureIndexAsync({ fieldName: 'n' }),
      // @ts-expect-error
      (tx) => tx.removeIndexAsync('n'),
      // @ts-expect-error
      (tx) => tx.loadDatabaseAsync(),
      // @ts-expect-error
      (tx) => tx.dropDatabaseAsync(),
      // @ts-expect-error
      (tx) => tx.compactDatafileAsync(),
      // @ts-expect-error
      (tx) => tx.transaction(() => {}),
      // @ts-expect-error
      (tx) => tx.rollbackAfter(() => {}),
      // @ts-expect-error
      (tx) => tx.dump(at('dump')),
      // @ts-expect-error
      (tx) => tx.close(),
      // @ts-expect-error
      (tx) => tx.table<{ a: number }>('t').create({ a: 'number' }),
    ]
    await refusesAll<ViewOf<typeof db>>((run) => db.view(run), writes, REFUSED)
    await refusesAll<ViewOf<typeof generic>>((run) => generic.view(run), writes, REFUSED)
    const isGone: Same<
      Extract<keyof View, 'insert' | 'update' | 'remove' | 'ensureIndex' | 'removeIndex' | 'persistence'>,
      never
    > = true
    assert.ok(isGone)
    const look = async (tx: ViewOf<typeof db>) => {
      const found: Doc[] = await tx.findAsync({}).sort({ n: 1 })
      const one: Doc | null = await tx.findOneAsync({ _id: 'a' })
      const many: number = await tx.countAsync({})
      assert.deepEqual([found, one, many, tx.getAllData()], [[], null, 0, []])
      assert.equal(await tx.view((inner) => inner.countAsync({})), 0)
      assert.equal(await new Promise((resolve) => tx.count({}, (_, n) => resolve(n))), 0)
    }
    await db.view(look)
    await generic.view(look)
    await db.close()
    await generic.close()
  })

  it('pslock/nedb-promises: there is nothing that writes', async () => {
    const db = LockedDatastore.create<Doc>(at('store.db'))
    const generic = new LockedDb(VanillaPromises.create(at('generic.db')), {
      adapter: nedbPromisesAdapter,
      path: at('generic.db'),
    })
    await generic.load()
    type View = ViewOf<typeof db> | ViewOf<typeof generic>
    const writes: Writes<View> = [
      // @ts-expect-error
      (tx) => tx.insert({ _id: 'a', n: 1 }),
      // @ts-expect-error
      (tx) => tx.insertOne({ _id: 'a', n: 1 }),
      // @ts-expect-error
      (tx) => tx.insertMany([{ _id: 'a', n: 1 }]),
      // @ts-expect-error
      (tx) => tx.update({}, { $inc: { n: 1 } }),
      // @ts-expect-error
      (tx) => tx.updateOne({}, { $inc: { n: 1 } }),
      // @ts-expect-error
      (tx) => tx.updateMany({}, { $inc: { n: 1 } }),
      // @ts-expect-error
      (tx) => tx.remove({}, {}),
      // @ts-expect-error
      (tx) => tx.deleteOne({}, {}),
      // @ts-expect-error
      (tx) => tx.deleteMany({}, {}),
      // @ts-expect-error
      (tx) => tx.ensureIndex({ fieldName: 'n' }),
      // @ts-expect-error
      (tx) => tx.removeIndex('n'),
      // @ts-expect-error
      (tx) => tx.transaction(() => {}),
    ]
    await refusesAll<ViewOf<typeof db>>((run) => db.view(run), writes, REFUSED)
    await refusesAll<ViewOf<typeof generic>>((run) => generic.view(run), writes, REFUSED)
    const look = async (tx: ViewOf<typeof generic>) => {
      await tx.load()
      assert.deepEqual([...(await tx.find({}).sort({ n: 1 }))], [])
      assert.equal(await tx.findOne({ _id: 'a' }), null)
      assert.equal(await tx.count({}), 0)
    }
    await db.view(look)
    await generic.view(look)
    await db.close()
    await generic.close()
  })

  it('a store of your own: what its adapter says of each method, if it `satisfies` the type of adapters', async () => {
    const adapter = {
      family: 'image',
      name: 'shelf',
      methods: { list: 'read', label: 'free', add: 'write' },
      load: (shelf, text) => shelf.load(text),
      save: (shelf) => shelf.save(),
    } satisfies ImageAdapter<Shelf>
    const db = new LockedDb(new Shelf(), { adapter, path: at('shelf') })
    await db.add('a')
    const writes: Writes<ViewOf<typeof db>> = [
      // @ts-expect-error
      (tx) => tx.add('b'),
      // @ts-expect-error what is not named counts as a write
      (tx) => tx.addNumber(),
      // @ts-expect-error
      (tx) => tx.close(),
    ]
    await refusesAll((run) => db.view(run), writes, REFUSED)
    const list: readonly string[] = await db.view((tx) => tx.list())
    assert.deepEqual([list, await db.view((tx) => tx.label())], [['a'], 'shelf of 1'])

    const declared: ImageAdapter<Shelf> = adapter
    const untold = new LockedDb(new Shelf(), { adapter: declared, path: at('shelf') })
    const others: Writes<ViewOf<typeof untold>> = [
      (tx) => tx.add('b'),
      // @ts-expect-error
      (tx) => tx.transaction(() => {}),
    ]
    await refusesAll((run) => untold.view(run), others, REFUSED)
    assert.deepEqual(await untold.view((tx) => tx.list()), ['a'])
    await db.close()
    await untold.close()
  })

  it('functions that only look take a store and its view', async () => {
    const db = new LockedNedb<Doc>({ filename: at('store.db'), autoload: true })
    const many = (store: ViewOf<LockedNedb<Doc>>) => store.countAsync({})
    assert.deepEqual([await many(db), await db.view(many), await db.transaction(many)], [0, 0, 0])
    const low = new LockedLow(at('db.json'), data())
    const first = ({ data }: ViewOf<LockedLow<Data>>) => data.posts[0]?.title
    assert.deepEqual([first(low), await low.view(first)], ['first', 'first'])
    await db.close()
    await low.close()
  })

  it('a class of your own has its own members in a view, and can call it', async () => {
    class Blog extends LockedLow<Data> {
      titles(): string[] {
        return this.data.posts.map(({ title }) => title)
      }
      latest(): Promise<string | undefined> {
        return this.view((tx) => tx.data.posts.at(-1)?.title)
      }
    }
    class Counters extends LockedNedb<Doc> {
      sum(): Promise<number> {
        return this.view(async (tx) => (await tx.findAsync({})).reduce((sum, { n }) => sum + n, 0))
      }
    }
    const blog = new Blog(at('db.json'), data())
    assert.deepEqual(
      [await blog.view((tx) => tx.titles()), await blog.latest()],
      [['first', 'second'], 'second'],
    )
    // @ts-expect-error
    await refusesAll((run) => blog.view(run), [(tx) => tx.write()], REFUSED)
    const counters = new Counters({ filename: at('store.db'), autoload: true })
    await counters.insertAsync({ _id: 'a', n: 3 })
    assert.deepEqual([await counters.sum(), await counters.view((tx) => tx.sum())], [3, 3])
    await blog.close()
    await counters.close()
  })
})
