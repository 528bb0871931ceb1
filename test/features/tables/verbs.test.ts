import assert from 'node:assert/strict'
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { LockedLow } from '../../../adapters/lowdb.ts'
import { LockedNedb } from '../../../adapters/nedb.ts'
import type { Table } from '../../../src/features/tables/table.ts'
import { LockedDb } from '../../../src/locked-db.ts'
import { useFolder } from '../../fixtures/folder.ts'
import { type Members, openTables, rawRecords, TABLE_KINDS, vanillaRecords } from '../../fixtures/stores.ts'

interface Person {
  name: string
  age: number
  mail: string | null
}

const FIELDS = {
  name: 'string',
  age: { type: 'number', default: 7 },
  mail: { type: 'string', nullable: true, default: null },
} as const

const ada = { name: 'Ada', age: 36, mail: 'ada@example.org' }
const bob = { name: 'Bob', age: 20, mail: null }
const byName = <T extends { name: string }>(records: T[]) =>
  records.sort((a, b) => (a.name < b.name ? -1 : 1))

for (const kind of TABLE_KINDS) {
  describe(`the verbs of a table in ${kind}`, () => {
    const at = useFolder()
    let db: Members
    let people: Table<Person, 'age' | 'mail'>
    const missing = { name: 'SchemaError', code: 'PSLOCK_SCHEMA', table: 'people', path: '' }
    beforeEach(() => {
      db = openTables(kind, at('store'))
      people = db.table('people')
      missing.path = at('store')
    })
    afterEach(() => db.close())
    const stored = async () =>
      byName(await people.select()).map(({ name, age, mail }) => ({ name, age, mail }))

    it('what does not exist is not opened, read, changed, or destroyed', async () => {
      const calls = [
        () => people.open(),
        () => people.select(),
        () => people.insert(ada),
        () => people.update({}, { age: 1 }),
        () => people.delete({}),
        () => people.setDefault('age', 1),
        () => people.addField('age', { type: 'number', default: 1 }),
        () => people.dropField('age'),
        () => people.cleanup(),
        () => people.commit(),
        () => people.destroy(),
      ]
      for (const call of calls) await assert.rejects(call, missing, call.toString())
      assert.equal(existsSync(at('store.schema')), false)
    })

    it('create makes it, and is an error if it exists, unless a mode says otherwise', async () => {
      assert.equal(await people.create(FIELDS), people)
      await people.insert(ada)
      await assert.rejects(people.create(FIELDS), missing)
      await people.create(FIELDS, { mode: 'open' })
      assert.deepEqual(await stored(), [ada])
      await people.create({ ...FIELDS, age: 'number' }, { mode: 'override' })
      assert.deepEqual(await stored(), [])
      await assert.rejects(people.insert({ name: 'no age' }), { ...missing, field: 'age' })
    })

    it('create with mode open wants the fields it names, and of these types', async () => {
      await people.create(FIELDS)
      await assert.rejects(
        db.table<{ size: number }>('people').create({ size: 'number' }, { mode: 'open' }),
        {
          ...missing,
          field: 'size',
        },
      )
      await assert.rejects(db.table<{ age: string }>('people').create({ age: 'string' }, { mode: 'open' }), {
        ...missing,
        field: 'age',
        expected: 'string',
      })
      await db.table<{ name: string }>('people').create({ name: 'string' }, { mode: 'open' })
    })

    it('insert gives ids, a first version and defaults; select gives copies', async () => {
      await people.create(FIELDS)
      const one = await people.insert({ name: 'Ada' })
      assert.deepEqual({ ...one, _id: '' }, { _id: '', _version: 1, name: 'Ada', age: 7, mail: null })
      const [two, three] = await people.insert([bob, { name: 'Cy', age: 9 }])
      assert.equal(new Set([one._id, two!._id, three!._id]).size, 3)
      const selected = await people.select({ _id: one._id })
      assert.deepEqual(selected, [one])
      selected[0]!.name = 'changed by hand'
      one.name = 'changed too'
      assert.deepEqual(
        (await stored()).map(({ name }) => name),
        ['Ada', 'Bob', 'Cy'],
      )
    })

    it('many are inserted all or none', async () => {
      await people.create(FIELDS)
      await assert.rejects(people.insert([ada, { name: 'Cy', age: 'old' as never }]), { field: 'age' })
      assert.deepEqual(await stored(), [])
    })

    it('select, update and delete take values or a function', async () => {
      await people.create(FIELDS)
      await people.insert([ada, bob])
      assert.equal((await people.select({ name: 'Ada', age: 36 })).length, 1)
      assert.equal((await people.select({ name: 'Ada', age: 20 })).length, 0)
      assert.equal((await people.select({ mail: null }))[0]!.name, 'Bob')
      assert.equal((await people.select(({ age }) => age > 30))[0]!.name, 'Ada')
      assert.equal((await people.update(({ age }) => age < 30, { age: 21 })).length, 1)
      assert.deepEqual(await stored(), [ada, { ...bob, age: 21 }])
      assert.equal(await people.delete({ name: 'nobody' }), 0)
      assert.equal(await people.delete({ name: 'Ada' }), 1)
      assert.equal(await people.delete(() => true), 1)
      assert.deepEqual(await stored(), [])
    })

    it('criteria that name nothing are refused: they would mean everything', async () => {
      await people.create(FIELDS)
      await people.insert(ada)
      for (const criteria of [{ _id: undefined }, { name: undefined }, null, 'Ada', { _version: '1' }]) {
        await assert.rejects(people.delete(criteria as never), /must be/)
        await assert.rejects(people.select(criteria as never), /must be/)
      }
      await assert.rejects(people.select({ size: 1 } as never), { ...missing, field: 'size', value: 1 })
      assert.deepEqual(await stored(), [ada])
    })

    it('update touches the fields it names, and counts versions; an old version is a conflict', async () => {
      await people.create(FIELDS)
      const { _id } = await people.insert(ada)
      const [next] = await people.update({ _id }, { age: 37 }, { version: 1 })
      assert.deepEqual(next, { ...ada, age: 37, _id, _version: 2 })
      const conflict = { name: 'ConflictError', code: 'PSLOCK_CONFLICT', expected: 1, found: 2 }
      await assert.rejects(people.update({ _id }, { age: 1 }, { version: 1 }), conflict)
      await assert.rejects(people.delete({ _id }, { version: 1 }), conflict)
      assert.deepEqual(await people.select(), [next])
      assert.equal(await people.delete({ _id }, { version: 2 }), 1)
      await assert.rejects(people.update({ _id }, { age: 1 }, { version: 2 }), {
        ...conflict,
        expected: 2,
        found: undefined,
      })
    })

    it('wrong types and unknown fields name table, field, expected type and value', async () => {
      await people.create(FIELDS)
      const { _id } = await people.insert(ada)
      const wrong: [string, unknown, string | undefined][] = [
        ['age', '36', 'number'],
        ['age', Number.NaN, 'number'],
        ['age', null, 'number'],
        ['name', 5, 'string'],
        ['name', undefined, 'string'],
        ['mail', false, 'string or null'],
        ['size', 1, undefined],
        ['_id', 'mine', undefined],
        ['__proto__', 1, undefined],
        ['toString', 1, undefined],
      ]
      for (const [field, value, expected] of wrong) {
        const expectedError = { ...missing, field, expected, value }
        const given = Object.fromEntries([[field, value]])
        await assert.rejects(people.update({ _id }, given), expectedError, `update ${field}`)
        if (value === undefined) continue
        await assert.rejects(
          people.insert({ ...ada, ...given, ...Object.fromEntries([[field, value]]) }),
          expectedError,
        )
      }
      assert.deepEqual(await stored(), [ada])
    })

    it('objects and arrays are kept as JSON keeps them, and compared by content', async () => {
      const notes = db.table<{ tags: string[]; at: { x: number } }>('notes')
      await notes.create({ tags: 'array', at: 'object' })
      await notes.insert({ tags: ['a', 'b'], at: { x: 1 } })
      assert.equal((await notes.select({ tags: ['a', 'b'], at: { x: 1 } })).length, 1)
      assert.equal((await notes.select({ tags: ['b', 'a'] })).length, 0)
      await assert.rejects(notes.insert({ tags: [], at: new Date() as never }), {
        field: 'at',
        expected: 'object',
      })
    })

    it('setDefault is for what is inserted later', async () => {
      await people.create(FIELDS)
      await people.insert({ name: 'Ada' })
      await people.setDefault('age', 99)
      await people.insert({ name: 'Bob' })
      assert.deepEqual(
        (await stored()).map(({ age }) => age),
        [7, 99],
      )
      await assert.rejects(people.setDefault('age', 'x' as never), {
        field: 'age',
        expected: 'number',
        value: 'x',
      })
      await assert.rejects(people.setDefault('size' as never, 1 as never), { ...missing, field: 'size' })
    })

    it('addField fills every record, dropField empties it', async () => {
      await people.create(FIELDS)
      await people.insert([ada, bob])
      const sized = db.table<{ size: number[] }>('people')
      await sized.addField('size', { type: 'array', default: [1] })
      assert.deepEqual(
        (await sized.select()).map(({ size }) => size),
        [[1], [1]],
      )
      await assert.rejects(sized.addField('size', { type: 'array', default: [] }), {
        ...missing,
        field: 'size',
      })
      await assert.rejects(sized.addField('other' as never, { type: 'number' } as never), { field: 'other' })
      await assert.rejects(sized.addField('other' as never, { type: 'number', default: 'x' } as never), {
        field: 'other',
        expected: 'number',
        value: 'x',
      })
      await sized.dropField('size')
      await assert.rejects(sized.dropField('size'), { ...missing, field: 'size' })
      await assert.rejects(sized.dropField('_id'), { ...missing, field: '_id' })
      assert.deepEqual(await stored(), [ada, bob])
      const raw = await db.view((tx) => rawRecords(kind, tx, 'people'))
      assert.ok(raw.every((record) => !('size' in record)))
    })

    it('the vanilla library sees the records, and nothing of the schema', async () => {
      await people.create(FIELDS)
      const { _id } = await people.insert(ada)
      const record = { ...ada, _id, _version: 1 }
      const expected = kind === 'lowdb' ? record : { ...record, _table: 'people' }
      assert.deepEqual(await vanillaRecords(kind, at('store'), 'people'), [expected])
    })

    it('tables of one store are apart, and a name can be used again after destroy', async () => {
      await people.create(FIELDS)
      const places = db.table<{ name: string }>('places')
      await places.create({ name: 'string' })
      await places.insert({ name: 'Paris' })
      await people.insert(ada)
      await people.destroy()
      await assert.rejects(people.select(), missing)
      assert.equal((await places.select()).length, 1)
      await people.create(FIELDS)
      assert.deepEqual(await stored(), [])
    })

    it('close waits and refuses; open opens again', async () => {
      await people.create(FIELDS)
      const inserting = people.insert(ada)
      await people.close()
      assert.equal((await inserting).name, 'Ada')
      for (const call of [() => people.select(), () => people.insert(bob), () => people.dropField('age')]) {
        await assert.rejects(call, { code: 'PSLOCK_CLOSED' })
      }
      assert.equal(await people.open(), people)
      assert.deepEqual(await stored(), [ada])
    })

    it('cleanup removes what crashes leave, and commit syncs; neither changes a record', async () => {
      await people.create(FIELDS)
      const { _id } = await people.insert(ada)
      for (let age = 0; age < 20; age++) await people.update({ _id }, { age })
      const temp = at('.store.schema.pslock.tmp')
      writeFileSync(temp, 'half a sch')
      writeFileSync(at('store~'), 'half a store')
      const { length } = readFileSync(at('store'))
      await people.cleanup()
      assert.deepEqual([existsSync(temp), existsSync(at('store~'))], [false, false])
      if (kind !== 'lowdb') assert.ok(readFileSync(at('store')).length < length / 5)
      await people.commit()
      assert.deepEqual(await stored(), [{ ...ada, age: 19 }])
    })

    it('a damaged schema file is refused and left as it is; without one the records are taken over', async () => {
      await people.create(FIELDS)
      await people.insert(ada)
      writeFileSync(at('store.schema'), '{"tables": ')
      for (const call of [
        () => people.select(),
        () => people.insert(bob),
        () => people.create(FIELDS, { mode: 'open' }),
      ]) {
        await assert.rejects(call, { code: 'PSLOCK_CORRUPT', path: at('store.schema') })
      }
      assert.equal(readFileSync(at('store.schema'), 'utf8'), '{"tables": ')
      writeFileSync(at('store.schema'), '{"tables": {}}')
      await assert.rejects(people.create(FIELDS), missing)
      await assert.rejects(people.create({ ...FIELDS, name: 'number' as never }, { mode: 'open' }), {
        ...missing,
        field: 'name',
        expected: 'number',
        value: 'Ada',
      })
      await people.create(FIELDS, { mode: 'open' })
      assert.deepEqual(await stored(), [ada])
    })

    it('names that not every store could keep are refused', async () => {
      for (const name of ['', '_id', 'a.b', '$set', '__proto__', 5 as never]) {
        assert.throws(() => db.table(name), TypeError)
        await assert.rejects(people.create({ [name]: 'string' } as never), TypeError)
      }
      await assert.rejects(people.create({ name: 'text' } as never), /'?text/)
      await assert.rejects(people.create(FIELDS, { mode: 'new' as never }), TypeError)
    })
  })
}

describe('tables', () => {
  const at = useFolder()

  it('lowdb: an array that was there before becomes a table, with what its records lack', async () => {
    writeFileSync(at('db.json'), JSON.stringify({ posts: [{ title: 'one' }, { title: 'two', likes: 3 }] }))
    await using db = new LockedLow(at('db.json'), {})
    const posts = db.table<{ title: string; likes: number }, 'likes'>('posts')
    await posts.create({ title: 'string', likes: { type: 'number', default: 0 } }, { mode: 'open' })
    const found = await posts.select()
    assert.deepEqual(
      found.map(({ title, likes, _version }) => [title, likes, _version]),
      [
        ['one', 0, 1],
        ['two', 3, 1],
      ],
    )
    assert.equal(new Set(found.map(({ _id }) => _id)).size, 2)
  })

  it('lowdb: what is no list of records is refused and kept', async () => {
    const text = JSON.stringify({ posts: { one: 1 } })
    writeFileSync(at('db.json'), text)
    await using db = new LockedLow(at('db.json'), {})
    await assert.rejects(db.table('posts').create({}, { mode: 'open' }), {
      code: 'PSLOCK_SCHEMA',
      table: 'posts',
    })
    assert.equal(readFileSync(at('db.json'), 'utf8'), text)
  })

  it('open gives the records of an older file that was put back what they lack', async () => {
    await using db = new LockedLow<object>(at('db.json'), {})
    const posts = db.table<{ title: string }>('posts')
    await posts.create({ title: 'string' })
    await posts.insert({ title: 'one' })
    const old = readFileSync(at('db.json'))
    await db.table<{ likes: number }>('posts').addField('likes', { type: 'number', default: 0 })
    writeFileSync(at('db.json'), old)
    await posts.open()
    assert.deepEqual(
      (await db.table<{ likes: number }>('posts').select()).map(({ likes }) => likes),
      [0],
    )
  })

  it('a store in memory, or whose adapter declares no rows, says that it has none', async () => {
    assert.throws(() => new LockedNedb().table('people'), { code: 'PSLOCK_TRANSACTION' })
    const adapter = { family: 'image', name: 'list', methods: {}, load() {}, save: () => '[]' } as const
    await using db = new LockedDb({}, { adapter, path: at('list.json') })
    assert.throws(() => db.table('people'), /declares no rows/)
  })

  it('types flow: these lines do not compile without their errors', async () => {
    await using db = new LockedNedb({ filename: at('typed.db'), autoload: true })
    const people = db.table<Person, 'age' | 'mail'>('people')
    await people.create(FIELDS)
    const { name, _version }: { name: string; _version: number } = await people.insert({ name: 'Ada' })
    assert.deepEqual([name, _version], ['Ada', 1])
    // @ts-expect-error name has no default
    await assert.rejects(people.insert({ age: 1 }))
    // @ts-expect-error there is no such field
    await assert.rejects(people.insert({ name: 'x', size: 1 }))
    // @ts-expect-error age is a number
    await assert.rejects(people.update({}, { age: 'old' }))
    // @ts-expect-error mail may be null, which must be said
    await assert.rejects(people.create({ name: 'string', age: 'number', mail: 'string' }))
    // @ts-expect-error name is a string
    await assert.rejects(people.select({ name: 1 }))
    // @ts-expect-error a new field needs a default
    await assert.rejects(people.addField('age', { type: 'number' }))
  })
})
