import groovy.transform.CompileStatic

import java.util.concurrent.BlockingQueue
import java.util.concurrent.ConcurrentHashMap
import java.util.concurrent.CountDownLatch
import java.util.concurrent.LinkedBlockingQueue
import java.util.concurrent.TimeUnit
import java.util.function.Consumer
import java.util.regex.Matcher

import org.apposed.appose.Service
import org.apposed.appose.TaskEvent

/** The Python process behind the door: started once, kept, and never waited for once it is dead. */
@CompileStatic
class Worker implements Closeable {

    /** Why there is no result, in lines for the person. */
    @CompileStatic
    static class Fault extends RuntimeException {
        Fault(String message) {
            super(message)
        }
    }

    private static final int LINES = 12  // of what Python said last
    private static final int WAIT_MS = 50
    private static final int DYING_MS = 3000  // from the end of the process to Appose's word on it
    private static final int LEAVING_MS = 6000  // Python saves what waits, which may take 5 s
    private static final String HELLO = "import stormseg_ij.worker as w; w.hello()"
    private static final String ANSWER = "import stormseg_ij.worker as w; w.answer(key, value, fault)"

    final String python
    Map<String, Object> said = [:]  // what it answered to the hello: version, python, pid

    private final Deque<String> lines = new ArrayDeque<String>()
    private final Map<String, Running> tasks = new ConcurrentHashMap<String, Running>()
    private final Service service
    private volatile boolean killed

    /**
     * @param folder where Python runs: it holds no package that could hide another
     * @param python path of the interpreter
     */
    Worker(File folder, String python) {
        this.python = python
        String[] words = [python, "-E", "-P", "-X", "utf8", "-u", "-m", "stormseg_ij.worker"] as String[]
        service = new Service(folder, words)
        service.debug({ String line -> heard(line) } as Consumer<String>)
    }

    /** Tells whether the process runs, and was not told to die; a task given to a dead one would never end. */
    boolean isAlive() {
        return !killed && service.isAlive()
    }

    /**
     * Starts the process, and waits for its first answer.
     *
     * @param seconds how long at most
     * @param stopped asked now and then; true ends the waiting
     */
    void start(int seconds, Closure<Boolean> stopped) {
        try {
            service.start()
        } catch (IOException failed) {
            throw new Fault("Python could not be started: " + failed.getMessage() + advice())
        }
        try {
            said = greeted(System.currentTimeMillis() + 1000L * seconds, seconds, stopped)
        } finally {
            if (said.isEmpty()) {
                kill()
            }
        }
    }

    private Map<String, Object> greeted(long end, int seconds, Closure<Boolean> stopped) {
        boolean late = false
        Running hello
        try {
            hello = awaited(HELLO, [:]) {
                late = System.currentTimeMillis() > end
                return late || stopped.call()
            }
        } catch (Fault dead) {
            throw new Fault("Python ended before it answered" + lacking() + advice())
        }
        if (hello == null) {
            throw new Fault(late ? "Python did not answer within " + seconds + " s" + advice() : "")
        }
        String error = hello.task.error
        if (status(hello) != "COMPLETE") {
            throw new Fault("Python could not start StormSeg" + lacking(error) + advice(error))
        }
        return new LinkedHashMap<String, Object>(hello.task.outputs)
    }

    /**
     * Runs a task to its end, and does meanwhile what it asks for, in this thread. Who interrupts this thread asks the
     * task to stop. Where this ends before the task does, whatever the reason, Python is ended: it would wait for its
     * answers for ever.
     *
     * @param serve does what it is given
     * @param look called often, to the end; once it is true, the task is asked to stop
     * @return the outputs
     */
    Map<String, Object> run(String script, Map<String, Object> inputs, Closure<?> serve, Closure<Boolean> look) {
        Running running = null
        boolean interrupted = false
        boolean stopping = false
        try {
            running = begun(script, inputs)
            while (true) {
                Map info = null
                try {
                    info = running.asked.poll(WAIT_MS, TimeUnit.MILLISECONDS)
                } catch (InterruptedException asked) {
                    interrupted = true
                }
                if (info != null) {
                    serve.call(info)
                }
                if ((look.call() || interrupted) && !stopping && running.ended.getCount() > 0) {
                    stopping = true
                    running.task.cancel()
                }
                if (running.ended.getCount() == 0 && running.asked.isEmpty() || info == null && isDead(running)) {
                    return outputs(running)
                }
            }
        } finally {
            if (running != null) {
                tasks.remove(running.task.uuid)
                if (running.ended.getCount() > 0) {
                    kill()
                }
                Shared.close(new ArrayList<Map>(running.asked))  // nobody will serve them any more
            }
            if (interrupted) {
                Thread.currentThread().interrupt()
            }
        }
    }

    /** Gives the reply to what a task has asked for; returns when Python has taken it. */
    void answer(Object key, Object value, String fault) {
        Map<String, Object> inputs = new HashMap<String, Object>()
        inputs.put("key", key)
        inputs.put("value", value)
        inputs.put("fault", fault)
        Running taken = awaited(ANSWER, inputs) { false }
        if (status(taken) != "COMPLETE") {
            throw new Fault("Python did not take an answer: " + lastLine(taken.task.error))
        }
    }

    /** Lets Python save what waits, and end. */
    @Override
    void close() {
        if (service.isAlive()) {
            service.close()
            Thread reaper = new Thread({
                long end = System.currentTimeMillis() + LEAVING_MS
                while (service.isAlive() && System.currentTimeMillis() < end) {
                    Thread.sleep(WAIT_MS)
                }
                kill()
            } as Runnable, "StormSeg closing")
            reaper.setDaemon(true)
            reaper.start()
        }
    }

    /** Ends Python at once. */
    void kill() {
        killed = true
        if (service.isAlive()) {
            service.kill()
        }
    }

    /** What Python said last, a line each. */
    String lastLines() {
        synchronized (lines) {
            return lines.join("\n")
        }
    }

    /** Waits although this thread is interrupted; the mark of that is there again afterwards. */
    static <T> T unbroken(Closure<T> waiting) {
        boolean interrupted = false
        try {
            while (true) {
                try {
                    return waiting.call()
                } catch (InterruptedException again) {
                    interrupted = true
                }
            }
        } finally {
            if (interrupted) {
                Thread.currentThread().interrupt()
            }
        }
    }

    /** Tells whether this is what ends a thread that is stopped: nobody may keep it. By name, for Java takes it away. */
    static boolean endsThread(Throwable thrown) {
        return thrown.getClass().getName() == "java.lang.ThreadDeath"
    }

    // ---- tasks

    /** A task that Python has, and what it asks for. */
    @CompileStatic
    private static class Running {
        final BlockingQueue<Map> asked = new LinkedBlockingQueue<Map>()
        final CountDownLatch ended = new CountDownLatch(1)
        Service.Task task
        volatile boolean lost  // its end came in a line that could not be read
    }

    private Running begun(String script, Map<String, Object> inputs) {
        Running running = new Running()
        running.task = service.task(script, inputs)
        tasks.put(running.task.uuid, running)
        try {
            running.task.listen({ TaskEvent event ->
                // In the thread that reads what Python writes: what is slow here keeps the next line waiting.
                if (event.responseType == Service.ResponseType.UPDATE) {
                    if (event.info != null && event.info.containsKey("do")) {
                        running.asked.put(event.info)
                    }
                } else if (event.responseType != Service.ResponseType.LAUNCH) {
                    running.ended.countDown()
                }
            } as Consumer<TaskEvent>)
            running.task.start()
        } catch (Throwable unfit) {
            tasks.remove(running.task.uuid)
            if (status(running) == "CRASHED") {
                throw new Fault("Python has ended" + advice())  // before the task could begin
            }
            if (unfit instanceof Error) {  // else JSON cannot hold its inputs, and Python has got nothing
                kill()
            }
            throw unfit
        }
        return running
    }

    /** Runs a task that asks for nothing; null where `stopped` ended the waiting. */
    private Running awaited(String script, Map<String, Object> inputs, Closure<Boolean> stopped) {
        Running running = begun(script, inputs)
        try {
            while (!hasEnded(running, WAIT_MS)) {
                if (isDead(running)) {
                    throw new Fault("Python has ended")
                }
                if (stopped.call()) {
                    return null
                }
            }
        } finally {
            tasks.remove(running.task.uuid)
        }
        if (status(running) == "CRASHED") {
            throw new Fault("Python has ended")
        }
        return running
    }

    /** Tells that the process is gone, after the time in which Appose would tell it. */
    private boolean isDead(Running running) {
        return !service.isAlive() && !hasEnded(running, DYING_MS)
    }

    /** Waits so long for a task's end. */
    private static boolean hasEnded(Running running, int milliseconds) {
        return unbroken { running.ended.await(milliseconds, TimeUnit.MILLISECONDS) }
    }

    private Map<String, Object> outputs(Running running) {
        switch (status(running)) {
            case "COMPLETE":
                return new LinkedHashMap<String, Object>(running.task.outputs)
            case "CANCELED":
                return [failure: "", stopped: true] as Map<String, Object>
            case "FAILED":
                throw new Fault("Python failed: " + lastLine(running.task.error))
            case "LOST":
                throw new Fault("Python gave a result that Java cannot read; the worker's last lines:\n" + lastLines())
            default:
                throw new Fault("Python has ended in the middle of the work; what it had shown until then stays. " +
                    "The next command starts it again" + advice())
        }
    }

    /** The status by its name: Appose's versions differ in what they throw and return, not in this. */
    private static String status(Running running) {
        return running.lost ? "LOST" : running.task.status.name()
    }

    // ---- what Python says

    /** Takes all that goes through Appose: Python's messages, and lines that Appose could not read. */
    private void heard(String line) {
        int start = line.indexOf("] ")
        String text = line.substring(start + 2)
        if (line.startsWith("[WORKER")) {
            synchronized (lines) {
                lines.addLast(text)
                if (lines.size() > LINES) {
                    lines.removeFirst()
                }
            }
        } else if (text.startsWith("<INVALID> ")) {
            unreadable(text)
        }
    }

    /** Lets no task wait for the answer to a line that was lost, such as one with NaN, or an array that is gone. */
    private void unreadable(String text) {
        for (Map.Entry<String, Running> one : tasks.entrySet()) {
            if (text.contains(one.key)) {
                if (!text.contains('"responseType":"UPDATE"')) {
                    one.value.lost = true
                    one.value.ended.countDown()
                }
                Matcher key = text =~ /"info":\s*\{\s*"key":\s*(\d+)/  // rows of a table may have such a heading too
                if (key.find()) {
                    Map<String, Object> lost = [key: Long.parseLong(key.group(1)), "do": "", "with": [:]] as Map
                    one.value.asked.put(lost)
                }
            }
        }
    }

    /** Names the package that this Python has not. */
    private String lacking(String error = null) {
        Matcher missing = ((error ?: "") + "\n" + lastLines()) =~ /No module named '?([\w.]+)/
        return missing.find() ? ": it has no " + missing.group(1) : ""
    }

    /** Which Python, what it said, and what to do. */
    private String advice(String error = null) {
        unbroken { Thread.sleep(2 * WAIT_MS) }  // what it said last may still be on its way
        String heard = lastLines() ?: (error ?: "").trim().readLines().takeRight(LINES).join("\n")
        return ".\nPython: " + python + (heard ? "\nIt said:\n" + heard : "") +
            "\nRun stormseg install-fiji FOLDER with the Python that has StormSeg, or stormseg doctor."
    }

    private static String lastLine(String error) {
        List<String> said = (error ?: "no reason given").trim().readLines()
        return said.isEmpty() ? "no reason given" : said.get(said.size() - 1)
    }
}
