import assert from 'node:assert/strict'
import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { ClosedError, CorruptStoreError, LockedDb, LockUpgradeError } from '../../src/index.ts'
import { fixture } from '../fixtures/code.ts'
import { useFolder } from '../fixtures/folder.ts'
import { Shelf, shelfAdapter } from '../fixtures/locked-db-shelf.ts'
import { failing, untouched } from '../fixtures/lowdb-tools.ts'
import { recordsOf, seenByVanilla } from '../fixtures/nedb-tools.ts'
import { newSeed, note } from '../fixtures/random.ts'

/** Any store, made safe by an adapter of four members. */
describe('LockedDb with a store of one’s own', () => {
  const at = useFolder()
  const path = () => at('shelf.txt')
  const open = (store = new Shelf()) => new LockedDb(store, { adapter: shelfAdapter, path: path() })
  const lines = () => readFileSync(path(), 'utf8').split('\n').slice(0, -1)

  const crew = new Set<ChildProcess>()
  afterEach(() => {
    for (const child of crew) child.kill('SIGKILL')
    crew.clear()
  })

  /** Lets processes work together until all have ended. */
  async function together(kind: string, file: string, count: number, times: number): Promise<void> {
    const seed = newSeed()
    const worker = fixture('locked-db-worker')
    const children = Array.from({ length: count }, (_, i) =>
      fork(worker, [kind, file, String(times), String(seed + i)]),
    )
    for (const child of children) crew.add(child)
    await Promise.all(children.map((child) => once(child, 'message')))
    const exits = children.map((child) => once(child, 'exit'))
    for (const child of children) child.send('go')
    assert.deepEqual(
      (await Promise.all(exits)).map(([code]) => code),
      Array(count).fill(0),
    )
    note(`seed ${seed}: ${count} processes x ${times}`)
  }

  it('control: without LockedDb processes lose what others added', async () => {
    await together('vanilla', path(), 4, 50)
    assert.ok(lines().length < 200, 'the test proves nothing where nothing collides')
  })

  it('processes lose nothing and never take the same number', async () => {
    await together('locked', path(), 6, 40)
    assert.deepEqual(
      lines(),
      Array.from({ length: 240 }, (_, i) => String(i + 1)),
    )
  })

  it('new LockedDb(vanilla NeDB, { adapter: nedbAdapter }) loses nothing over 4 processes', async () => {
    writeFileSync(at('n.db'), '{"_id":"counter","n":0}\n')
    await together('nedb', at('n.db'), 4, 25)
    const docs = await seenByVanilla(at('n.db'))
    assert.equal(docs.length, 101)
    assert.equal(docs.find(({ _id }) => _id === 'counter')?.n, 100)
    const writers = recordsOf(at('n.db')).flatMap(({ by }) => (by === undefined ? [] : [by]))
    const handOvers = writers.filter((by, i) => i > 0 && by !== writers[i - 1]).length
    note(`${handOvers} hand-overs`)
    assert.ok(handOvers >= 25, `too little contention to prove anything: ${handOvers}`)
  })

  it('methods return promises, getters and private fields work, and chaining gives a promise of the store', async () => {
    const shelf = open()
    assert.equal(shelf.size, 0)
    const chained = await shelf.add('a')
    assert.equal(await shelf.addAll(['b', 'c']), 2)
    assert.equal(shelf.size, 3)
    assert.equal(chained.size, 3)
    assert.deepEqual(await shelf.list(), ['a', 'b', 'c'])
    assert.ok((shelf as object) instanceof Shelf)
    assert.equal(readFileSync(path(), 'utf8'), 'a\nb\nc\n')
  })

  it('what a chaining method returns is the locked store, not a way around the lock', async () => {
    const shelf = open()
    const chained = await shelf.add('a')
    writeFileSync(path(), 'theirs\n')
    await (chained as unknown as typeof shelf).add('b')
    assert.deepEqual(lines(), ['theirs', 'b'])
  })

  it('a method that is not named is a write', async () => {
    const shelf = open()
    assert.equal(await shelf.addNumber(), 1)
    assert.equal(await shelf.addNumber(), 2)
    assert.deepEqual(lines(), ['1', '2'])
  })

  it('a method named read sees what others wrote, and writes nothing, whatever it does to memory', async () => {
    const shelf = open()
    writeFileSync(path(), 'x\ny\n')
    assert.deepEqual(await shelf.list(), ['x', 'y'])
    await untouched(path(), () => shelf.peek())
    const other = open()
    assert.deepEqual(await other.list(), ['x', 'y'])
    await other.lock.shared(() => other.list())
    assert.ok((await failing(() => other.lock.shared(() => other.add('z')))) instanceof LockUpgradeError)
  })

  it('a method named free runs at once, without the lock and without a promise', async () => {
    const shelf = open()
    await shelf.lock.exclusive(async () => {
      await shelf.add('a')
      const other = open()
      const called = new Promise((resolve) => setTimeout(() => resolve(other.label()), 1))
      assert.equal(await called, 'shelf of 0')
    })
    assert.ok((shelf.label() as unknown) === 'shelf of 1')
  })

  it('a method that throws is undone, in memory and in the file, and its error comes through', async () => {
    const shelf = open()
    await shelf.add('a')
    const error = await untouched(path(), () => failing(() => shelf.addAll(['b', 'c', ''])))
    assert.ok(error instanceof RangeError)
    assert.deepEqual(await shelf.list(), ['a'])
    assert.equal(shelf.size, 1)
    await untouched(path(), () => failing(() => open().add('')))
  })

  it('a throw on a file that does not exist creates none', async () => {
    const shelf = open()
    await failing(() => shelf.addAll(['b', '']))
    assert.ok(!existsSync(path()))
    assert.equal(shelf.size, 0)
  })

  it('of calls issued together only the one that throws is undone', async () => {
    const shelf = open()
    const outcomes = await Promise.allSettled(['a', '', 'b', '', 'c'].map((item) => shelf.add(item)))
    assert.deepEqual(
      outcomes.map(({ status }) => status === 'fulfilled'),
      [true, false, true, false, true],
    )
    assert.deepEqual(lines(), ['a', 'b', 'c'])
  })

  it('a read from inside a write does not keep the write from being saved', async () => {
    const shelf = open()
    await shelf.add('a')
    await shelf.edit(async (items) => {
      items.push('b')
      assert.deepEqual(await shelf.list(), ['a', 'b'])
    })
    assert.deepEqual(lines(), ['a', 'b'])
  })

  it('a write from inside a write is saved with it', async () => {
    const shelf = open()
    await shelf.edit(async () => {
      await shelf.add('inner')
    })
    assert.deepEqual(lines(), ['inner'])
  })

  it('a corrupt text is a CorruptStoreError for every method, and the file is untouched', async () => {
    const shelf = open()
    await shelf.add('a')
    writeFileSync(path(), 'x\ncut')
    for (const run of [() => shelf.list(), () => shelf.add('b'), () => shelf.addAll(['c'])]) {
      const error = await untouched(path(), () => failing(run))
      assert.ok(error instanceof CorruptStoreError, `${error}`)
      assert.ok(error.message.includes('shelf') && error.message.includes(path()))
      assert.ok(error.cause instanceof SyntaxError)
    }
    writeFileSync(path(), 'x\n')
    await shelf.add('b')
    assert.deepEqual(lines(), ['x', 'b'])
  })

  it('a file that has not changed is not loaded again', async () => {
    const store = new Shelf()
    const shelf = open(store)
    for (let i = 0; i < 10; i++) {
      await shelf.add('a')
      await shelf.list()
    }
    assert.ok(store.loads <= 1, `loaded ${store.loads} times`)
    await open().add('b')
    await shelf.list()
    assert.ok(store.loads <= 2, `loaded ${store.loads} times`)
  })

  it('a class of a deleted file is empty again', async () => {
    const { unlinkSync } = await import('node:fs')
    const shelf = open()
    await shelf.addAll(['a', 'b'])
    unlinkSync(path())
    assert.deepEqual(await shelf.list(), [])
    await shelf.add('c')
    assert.deepEqual(lines(), ['c'])
  })

  it('a save() that gives no text is a TypeError, and nothing is overwritten or lost silently', async () => {
    writeFileSync(path(), 'a\n')
    for (const save of [() => undefined, () => 7, async () => 'b\n'] as unknown[]) {
      const adapter = { ...shelfAdapter, save } as typeof shelfAdapter
      const shelf = new LockedDb(new Shelf(), { adapter, path: path() })
      const error = await untouched(path(), () => failing(() => shelf.add('b')))
      assert.ok(error instanceof TypeError, `${error}`)
      assert.deepEqual(await shelf.list(), ['a'])
    }
  })

  it('close() waits, then methods reject with ClosedError; free ones and getters still work', async () => {
    const shelf = open()
    const added = shelf.add('a')
    await shelf.close()
    await added
    assert.ok((await failing(() => shelf.add('b'))) instanceof ClosedError)
    assert.ok((await failing(() => shelf.list())) instanceof ClosedError)
    assert.deepEqual([shelf.size, shelf.label() as unknown], [1, 'shelf of 1'])
    await shelf[Symbol.asyncDispose]()
  })

  it('a wrong store, adapter or path is a TypeError that shows it, when it is opened', () => {
    const good = { adapter: shelfAdapter, path: path() }
    const wrong: [unknown, unknown][] = [
      [undefined, good],
      [null, good],
      ['shelf', good],
      [Shelf, good],
      [new Shelf(), undefined],
      [new Shelf(), { path: path() }],
      [new Shelf(), { ...good, adapter: null }],
      [new Shelf(), { ...good, adapter: 'shelf' }],
      [new Shelf(), { ...good, adapter: {} }],
      [new Shelf(), { ...good, adapter: { ...shelfAdapter, family: 'picture' } }],
      [new Shelf(), { ...good, adapter: { ...shelfAdapter, load: undefined } }],
      [new Shelf(), { ...good, adapter: { ...shelfAdapter, save: undefined } }],
      [new Shelf(), { ...good, adapter: { ...shelfAdapter, methods: undefined } }],
      [new Shelf(), { ...good, adapter: { ...shelfAdapter, methods: { list: 'reed' } } }],
      [new Shelf(), { ...good, path: undefined }],
      [new Shelf(), { ...good, path: '' }],
      [new Shelf(), { ...good, path: 7 }],
      [new Shelf(), { ...good, path: 'a\0b' }],
      [new Shelf(), { ...good, timeoutMs: 'soon' }],
    ]
    const accepted = wrong.flatMap(([store, options], row) => {
      try {
        new LockedDb(store as Shelf, options as typeof good)
        return [row]
      } catch (error) {
        return error instanceof TypeError ? [] : [row, error]
      }
    })
    assert.deepEqual(accepted, [], 'rows that were not refused')
  })
})
