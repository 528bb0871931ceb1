import assert from 'node:assert/strict'
import { chmodSync, readFileSync, writeFileSync } from 'node:fs'
import type { Table } from '../../../src/features/tables/table.ts'
import { staysPending, useFolder } from '../../fixtures/folder.ts'
import { type Members, openTables, rawRecords, TABLE_KINDS } from '../../fixtures/stores.ts'

interface Account {
  owner: string
  amount: number
}

for (const kind of TABLE_KINDS) {
  describe(`tables in transactions of ${kind}`, () => {
    const at = useFolder()
    let db: Members
    let other: Members
    let accounts: Table<Account, 'amount'>
    beforeEach(async () => {
      db = openTables(kind, at('store'))
      other = openTables(kind, at('store'))
      accounts = db.table('accounts')
      await accounts.create({ owner: 'string', amount: { type: 'number', default: 0 } })
      await accounts.insert([{ owner: 'Ada', amount: 5 }, { owner: 'Bob' }])
    })
    afterEach(async () => {
      await db.close()
      await other.close()
    })
    const amounts = async (of: Members = db) =>
      Object.fromEntries(
        (await of.table<Account>('accounts').select()).map(({ owner, amount }) => [owner, amount]),
      )
    const fail = new Error('on purpose')

    it('several calls are one: a throw undoes them, and nobody has seen them', async () => {
      const before = readFileSync(at('store'))
      const failing = db.transaction(async () => {
        await accounts.update({ owner: 'Ada' }, { amount: 4 })
        await accounts.insert({ owner: 'Cy', amount: 1 })
        await accounts.delete({ owner: 'Bob' })
        assert.deepEqual(await amounts(), { Ada: 4, Cy: 1 })
        throw fail
      })
      await assert.rejects(failing, fail)
      assert.deepEqual(readFileSync(at('store')), before)
      assert.deepEqual(await amounts(), { Ada: 5, Bob: 0 })
    })

    it('an inner transaction is undone by itself, and so is a call that is refused', async () => {
      await db.transaction(async () => {
        await accounts.update({ owner: 'Ada' }, { amount: 4 })
        const inner = db.transaction(async () => {
          await accounts.delete({})
          throw fail
        })
        await assert.rejects(inner, fail)
        await assert.rejects(accounts.insert([{ owner: 'Cy' }, { owner: 5 as never }]), {
          code: 'PSLOCK_SCHEMA',
        })
      })
      assert.deepEqual(await amounts(other), { Ada: 4, Bob: 0 })
    })

    it('a view is of one state, which others cannot change and it cannot either', async () => {
      await db.view(async () => {
        assert.deepEqual(await amounts(), { Ada: 5, Bob: 0 })
        await other.table<Account>('accounts').update({ owner: 'Ada' }, { amount: 1 })
        assert.deepEqual(await amounts(), { Ada: 5, Bob: 0 })
        await assert.rejects(accounts.update({ owner: 'Ada' }, { amount: 2 }), { code: 'PSLOCK_TRANSACTION' })
      })
      assert.deepEqual(await amounts(), { Ada: 1, Bob: 0 })
    })

    it('a view inside a transaction sees what that has done, and cannot write', async () => {
      await db.transaction(async () => {
        await accounts.update({ owner: 'Ada' }, { amount: 4 })
        await db.view(async () => {
          assert.deepEqual(await amounts(), { Ada: 4, Bob: 0 })
          await assert.rejects(accounts.delete({}), { code: 'PSLOCK_TRANSACTION' })
        })
        await accounts.update({ owner: 'Bob' }, { amount: 1 })
      })
      assert.deepEqual(await amounts(other), { Ada: 4, Bob: 1 })
    })

    it('rollbackAfter leaves no trace', async () => {
      const before = readFileSync(at('store'))
      const owners = await db.rollbackAfter(async () => {
        await accounts.insert({ owner: 'Cy' })
        return (await accounts.select()).length
      })
      assert.equal(owners, 3)
      assert.deepEqual(readFileSync(at('store')), before)
      assert.deepEqual(await amounts(), { Ada: 5, Bob: 0 })
    })

    it('what cannot be undone is refused inside', async () => {
      await db.transaction(async () => {
        const calls = [
          () => accounts.create({ owner: 'string', amount: 'number' }, { mode: 'open' }),
          () => accounts.open(),
          () => accounts.destroy(),
          () => accounts.setDefault('amount', 1),
          () => accounts.addField('amount', { type: 'number', default: 1 }),
          () => accounts.dropField('amount'),
          () => accounts.cleanup(),
          () => accounts.commit(),
        ]
        for (const call of calls) await assert.rejects(call, { code: 'PSLOCK_TRANSACTION' }, call.toString())
      })
      assert.deepEqual(await amounts(), { Ada: 5, Bob: 0 })
    })

    it('inside a hold of one’s own everything is allowed', async () => {
      await db.lock.exclusive(async () => {
        await accounts.dropField('amount')
        await db.table<{ open: boolean }>('accounts').addField('open', { type: 'boolean', default: true })
      })
      const [account] = await other
        .table<{ owner: string; open: boolean }>('accounts')
        .select({ owner: 'Ada' })
      assert.deepEqual(account, { _id: account!._id, _version: 1, owner: 'Ada', open: true })
    })

    it('a select beside a holder that adds a field gives the records with the field, or at once without', async () => {
      const haveField = (records: readonly object[]) => records.map((record) => 'open' in record)
      const held = await other.lock.acquire()
      const selecting = accounts.select()
      // NeDB's own reads wait for nobody.
      const waits = kind === 'lowdb'
      assert.equal(await staysPending(selecting), waits)
      const adding = held.run(() =>
        other.table<{ open: boolean }>('accounts').addField('open', { type: 'boolean', default: true }),
      )
      const meanwhile = waits ? [] : [selecting, accounts.select()]
      await adding
      held.release()
      for (const records of meanwhile)
        assert.ok(['true,true', 'false,false'].includes(String(haveField(await records))))
      assert.deepEqual(haveField(await (waits ? selecting : accounts.select())), [true, true])
    })

    it('an optimistic transaction is a conflict where only the schema has changed meanwhile', async () => {
      const empty = db.table<{ a: number; b: number }, 'b'>('empty')
      await db.table<{ a: number }>('empty').create({ a: 'number' })
      let runs = 0
      const insert = async () => {
        await empty.insert({ a: 1 })
        // There is no record yet that this could change.
        if (runs++ === 0) {
          await other.table<{ b: number }>('empty').addField('b', { type: 'number', default: 2 })
        }
      }
      await db.transaction(insert, { retry: 3 })
      assert.equal(runs, 2)
      const raw = await db.view((tx) => rawRecords(kind, tx, 'empty'))
      assert.deepEqual(
        raw.map(({ a, b }) => [a, b]),
        [[1, 2]],
      )
    })

    it('a change of the schema whose records cannot be written has not happened', async () => {
      const schema = readFileSync(at('store.schema'), 'utf8')
      chmodSync(at('store'), 0o444)
      const adding = db
        .table<{ open: boolean }>('accounts')
        .addField('open', { type: 'boolean', default: true })
      await assert.rejects(adding, { code: 'PSLOCK_STORE_IO' })
      chmodSync(at('store'), 0o644)
      assert.equal(readFileSync(at('store.schema'), 'utf8'), schema)
      await accounts.insert({ owner: 'Cy' })
      const raw = await db.view((tx) => rawRecords(kind, tx, 'accounts'))
      assert.deepEqual(
        raw.filter((record) => 'open' in record),
        [],
      )
    })

    it('a crash that is found only inside a transaction is mended there', async () => {
      const from = { fields: { owner: { type: 'string' }, amount: { type: 'number', default: 0 } } }
      const to = { fields: { ...from.fields, open: { type: 'boolean', default: true } } }
      const pending = { operation: 'addField', table: 'accounts', from, to }
      await db.transaction(async () => {
        // As a process leaves it that dies between the two steps; nobody can have finished it under our lock.
        writeFileSync(at('store.schema'), JSON.stringify({ tables: { accounts: from }, pending }))
        await accounts.insert({ owner: 'Cy' })
      })
      const found = await other.table<Account & { open: boolean }>('accounts').select()
      assert.deepEqual(
        found.map(({ open }) => open),
        [true, true, true],
      )
      assert.equal(JSON.parse(readFileSync(at('store.schema'), 'utf8')).pending, undefined)
    })
  })
}
