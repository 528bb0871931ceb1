import assert from 'node:assert/strict'
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { Low } from 'lowdb'
import { JSONFile } from 'lowdb/node'
import { LockedLow } from '../../adapters/lowdb.ts'
import { useFolder } from '../fixtures/folder.ts'
import { idsOf, seenByVanilla } from '../fixtures/nedb-tools.ts'
import { killWhatIsLeft, pslock } from './run-pslock.ts'

/** An empty file is a store of NeDB's, without documents; neither lowdb nor pslock reads it as JSON. */
describe('pslock dump, restore, check, repair: empty and missing files', () => {
  killWhatIsLeft()
  const at = useFolder()

  for (const [name, content] of [
    ['data.db', ''],
    ['DATA.NEDB', '\n\n'],
  ] as const) {
    it(`${name} of ${content.length} bytes is a whole store of NeDB's`, async () => {
      writeFileSync(at(name), content)
      const check = await pslock('check', at(name))
      assert.deepEqual([check.code, check.stderr], [0, ''])
      assert.match(check.stdout, /: whole\n$/)
      const repair = await pslock('repair', at(name))
      assert.deepEqual([repair.code, repair.stderr], [0, ''])
      assert.equal(readFileSync(at(name), 'utf8'), content)
      assert.deepEqual(idsOf(await seenByVanilla(at(name))), [])
      const dump = await pslock('dump', at(name), at('copy.db'))
      assert.deepEqual([dump.code, dump.stderr], [0, ''])
      writeFileSync(at('other.db'), '{"_id":"a"}\n')
      const restore = await pslock('restore', at('other.db'), at('copy.db'))
      assert.deepEqual([restore.code, restore.stderr], [0, ''])
      assert.deepEqual(idsOf(await seenByVanilla(at('other.db'))), [])
    })
  }

  it('an empty JSON is damaged, for lowdb, for pslock, and on the command line', async () => {
    writeFileSync(at('data.json'), '')
    await assert.rejects(new Low<unknown>(new JSONFile(at('data.json')), {}).read(), SyntaxError)
    await assert.rejects(new LockedLow(at('data.json'), {}).read(), { code: 'PSLOCK_CORRUPT' })
    const check = await pslock('check', at('data.json'))
    assert.equal(check.code, 1, check.stderr)
    assert.match(check.stdout, /it is empty[\s\S]*Restore a dump of it\. Or remove it/)
    assert.equal((await pslock('repair', at('data.json'))).code, 1)
    assert.equal((await pslock('dump', at('data.json'), at('copy.json'))).code, 1)
    writeFileSync(at('dump.json'), '{"a":1}')
    assert.equal((await pslock('restore', at('data.json'), at('dump.json'))).code, 0)
    assert.equal(readFileSync(at('data.json'), 'utf8'), '{"a":1}')
  })

  it('an empty file whose name does not say what it is: --store does', async () => {
    writeFileSync(at('data'), '')
    const check = await pslock('check', at('data'))
    assert.equal(check.code, 125)
    assert.match(
      check.stderr,
      /is empty, which a file of NeDB may be and one of lowdb may not: .*--store nedb/,
    )
    assert.equal((await pslock('check', at('data'), '--store', 'nedb')).code, 0)
    assert.equal((await pslock('check', at('data'), '--store', 'lowdb')).code, 1)
  })

  it('an empty file of NeDB does not replace a JSON of lowdb', async () => {
    writeFileSync(at('data.json'), '{"a":1}')
    writeFileSync(at('empty.db'), '')
    const restore = await pslock('restore', at('data.json'), at('empty.db'))
    assert.equal(restore.code, 125)
    assert.match(restore.stderr, /looks like a file of lowdb, and .* like one of nedb/)
    assert.equal(readFileSync(at('data.json'), 'utf8'), '{"a":1}')
  })

  for (const args of [['check'], ['repair', '--store', 'nedb'], ['dump', 'copy.db']]) {
    it(`${args.join(' ')} of a file that is not there says so in one line`, async () => {
      const [command = '', ...others] = args.map((arg) => (arg === 'copy.db' ? at(arg) : arg))
      const { code, stdout, stderr } = await pslock(command, at('nosuch.db'), ...others)
      const line = `pslock: cannot read ${at('nosuch.db')}: there is no such file (ENOENT).\n`
      assert.deepEqual({ code, stdout, stderr }, { code: 125, stdout: '', stderr: line })
      assert.deepEqual(readdirSync(at('.')), [])
    })
  }

  for (const there of [true, false]) {
    it(`restore from a file that is not there says so, where the store is ${there ? '' : 'not '}there`, async () => {
      if (there) writeFileSync(at('data.db'), '{"_id":"a"}\n')
      const { code, stderr } = await pslock('restore', at('data.db'), at('nosuch.db'))
      assert.equal(code, 125)
      assert.equal(stderr, `pslock: cannot read ${at('nosuch.db')}: there is no such file (ENOENT).\n`)
      assert.deepEqual(readdirSync(at('.')), there ? ['data.db'] : [])
    })
  }
})
