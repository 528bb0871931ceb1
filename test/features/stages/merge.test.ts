import assert from 'node:assert/strict'
import { useFolder } from '../../fixtures/folder.ts'
import { STAGED_TREES, type StagedTree, type Tree } from '../../fixtures/staged-trees.ts'

for (const { name, open } of STAGED_TREES) {
  describe(`what a stage of ${name} merges`, () => {
    const at = useFolder()
    let db: StagedTree
    afterEach(() => db.close())
    const begin = async (tree: Tree) => {
      db = await open(at('store'), tree)
    }
    const paths = async () => (await db.check()).map(({ path }) => path)

    it('a record within a record that others removed is one conflict, and comes back whole', async () => {
      await begin({ lines: [{ id: 1, qty: 1, note: 'a', parts: [{ id: 5, n: 1 }] }, { id: 2 }] })
      await db.edit(({ lines: [line] }) => {
        Object.assign(line, { qty: 5, note: 'mine' })
        line.parts[0].n = 2
      })
      await db.others(({ lines }) => lines[0].parts.push({ id: 6, n: 1, m: 1 }))
      await db.edit(({ lines: [line] }) => {
        line.parts[1].n = 2
      })
      await db.others(({ lines }) => lines[0].parts.pop())
      assert.deepEqual(await paths(), ['lines[id=1].parts[id=6]'])
      await db.others(({ lines }) => lines.shift())
      const mine = {
        ...{ id: 1, qty: 5, note: 'mine' },
        parts: [
          { id: 5, n: 2 },
          { id: 6, n: 2, m: 1 },
        ],
      }
      const [conflict, ...more] = await db.check()
      assert.deepEqual(more, [])
      assert.deepEqual([conflict?.path, conflict?.mine, conflict?.theirs], ['lines[id=1]', mine, undefined])
      assert.equal((conflict?.base as Tree)?.note, 'a')
      await db.commit(() => 'mine')
      assert.deepEqual(await db.stored(), { lines: [{ id: 2 }, mine] })
    })

    it('a record that was taken out and put back in has all of its fields in a conflict', async () => {
      await begin({ lines: [{ id: 1, parts: [{ id: 5, n: 1, m: 1 }] }] })
      await db.edit(({ lines }) => lines.pop())
      await db.edit(({ lines }) => lines.push({ id: 1, parts: [{ id: 5, n: 2, m: 1 }] }))
      await db.others(({ lines }) => lines[0].parts.pop())
      assert.deepEqual(await paths(), ['lines[id=1].parts[id=5]'])
      await db.commit(() => 'mine')
      assert.deepEqual(await db.stored(), { lines: [{ id: 1, parts: [{ id: 5, n: 2, m: 1 }] }] })
    })
  })
}
