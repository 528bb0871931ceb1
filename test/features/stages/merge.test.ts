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

    it('what was edited in parts and is then changed as a whole is in conflict with nobody', async () => {
      await begin({ lines: [{ id: 1 }, { id: 2 }, { id: 3 }], words: ['a'], n: 1 })
      await db.edit((tree) => tree.lines.shift())
      await db.edit((tree) => tree.words.push('mine'))
      await db.others((tree) => tree.words.push('theirs'))
      await db.edit((tree) => tree.lines.reverse())
      await db.edit((tree) => {
        tree.words = 0
      })
      assert.deepEqual(await paths(), [])
      await db.commit()
      assert.deepEqual(await db.stored(), { lines: [{ id: 3 }, { id: 2 }], words: 0, n: 1 })
    })

    it('what is changed as a whole over a conflict stays in conflict', async () => {
      await begin({ lines: [{ id: 1, n: 1 }, { id: 2 }, { id: 3 }] })
      await db.edit(({ lines }) => {
        lines[0].n = 2
      })
      await db.others(({ lines }) => {
        lines[0].n = 3
      })
      await db.edit(({ lines }) => lines.reverse())
      const [conflict] = await db.check()
      assert.deepEqual([conflict?.path, conflict?.base], ['lines', [{ id: 1, n: 1 }, { id: 2 }, { id: 3 }]])
    })

    it('a change of others is not overwritten where it looks like a removal undone', async () => {
      await begin({ lines: [{ id: 1 }, { id: 2 }, { id: 3 }] })
      await db.edit(({ lines }) => lines.shift())
      await db.edit((tree) => delete tree.lines)
      await db.others(({ lines }) => lines.push(lines.shift()))
      assert.deepEqual(await paths(), ['lines'])
    })

    for (const [was, mine, theirs, how, becomes] of [
      [{ from: 1 }, { from: 1, to: 5 }, 7, 'mine', { to: 5 }],
      [{ from: 1 }, { from: 5 }, new Date(0), 'mine', { from: 5 }],
      [{ from: 1 }, { from: 5, to: 6 }, [1], 'mine', { from: 5, to: 6 }],
      [{ from: 1 }, { from: 5 }, [1], { value: 9 }, { from: 9 }],
      [{ from: 1 }, { from: 5 }, null, 'theirs', null],
      [[{ id: 1, q: 1, r: 1 }], [{ id: 1, q: 5, r: 1 }], {}, 'mine', [{ id: 1, q: 5, r: 1 }]],
      [[{ id: 1 }], [{ id: 1 }, { id: 2 }], 'x', 'mine', [{ id: 2 }]],
      [{ a: { b: { c: 1 } } }, { a: { b: { c: 2 } } }, { a: [] }, 'mine', { a: { b: { c: 2 } } }],
    ] as const) {
      it(`where ${JSON.stringify(was)} has become ${JSON.stringify(theirs)}, ${JSON.stringify(mine)} is a conflict`, async () => {
        await begin({ w: was })
        await db.edit((tree) => {
          tree.w = mine
        })
        await db.others((tree) => {
          tree.w = theirs
        })
        assert.notEqual((await db.check()).length, 0)
        await db.commit(() => how)
        assert.deepEqual(await db.stored(), { w: becomes })
      })
    }

    it('a conflict is asked for by itself, whatever the answer to the one before it was', async () => {
      await begin({ w: { from: 1, to: 1 } })
      await db.edit((tree) => {
        tree.w = { from: 2, to: 2 }
      })
      await db.others((tree) => {
        tree.w = 7
      })
      assert.deepEqual(await paths(), ['w.from', 'w.to'])
    })

    it('what is new or put elsewhere in a list stands where the user has seen it', async () => {
      await begin({ menu: [{ id: 1 }, { id: 2 }, { id: 3 }] })
      const seen: unknown[] = []
      const order = async () => (await db.seen()).menu.map(({ id }: Tree) => id).join('')
      for (const change of [
        (menu: Tree[]) => menu.splice(1, 0, { id: 'A' }, { id: 'B' }, { id: 'C' }),
        (menu: Tree[]) => Object.assign(menu[1], { title: 'x' }),
        (menu: Tree[]) => menu.splice(1, 1),
        (menu: Tree[]) => menu.splice(1, 1),
        (menu: Tree[]) => menu.shift(),
        (menu: Tree[]) => menu.push({ id: 1 }),
      ]) {
        await db.edit(({ menu }) => change(menu))
        seen.push(await order())
      }
      assert.deepEqual(seen, ['1ABC23', '1ABC23', '1BC23', '1C23', 'C23', 'C231'])
      assert.deepEqual(await paths(), [])
      await db.commit()
      assert.equal((await db.stored()).menu.map(({ id }: Tree) => id).join(''), 'C231')
    })
  })
}
