import { execFileSync } from 'node:child_process'
import { type Claims, grantedAfter, keepsOutFlock } from './claim.ts'

const NAME = 'py-filelock'

function python(program: string): string {
  return execFileSync('python3', ['-c', program], { encoding: 'utf8' }).trim()
}

export const pyFilelock: Claims = {
  title: 'Python filelock',
  load: (lab) => lab.start(1, 'python', NAME),
  claims: [
    {
      text: 'a killed holder frees it at once',
      isTrue: (lab) => grantedAfter(lab, 'python', NAME, 'SIGKILL', 1_000),
    },
    {
      text: 'a stopped holder keeps it',
      isTrue: async (lab) => !(await grantedAfter(lab, 'python', NAME, 'SIGSTOP', 13_000)),
    },
    {
      text: 'one object re-enters',
      isTrue: async (lab) =>
        python(`import filelock
lock = filelock.FileLock(${JSON.stringify(lab.path(NAME, 'twice'))})
with lock:
    with lock:
        pass
    print(lock.is_locked)`) === 'True',
    },
    {
      text: 'by default it waits for ever, asking every 50 ms',
      isTrue: async () =>
        python(`import filelock, inspect
print(filelock.FileLock("x").timeout, inspect.signature(filelock.BaseFileLock.acquire).parameters["poll_interval"].default)`) ===
        '-1 0.05',
    },
    { text: 'flock(1) is kept out', isTrue: (lab) => keepsOutFlock(lab, 'python', NAME) },
  ],
}
