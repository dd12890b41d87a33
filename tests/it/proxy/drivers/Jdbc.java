// What JDBC can do, through a proxy that pools transactions:
// java --class-path /usr/share/java/postgresql.jar Jdbc.java PORT PASSWORD
import java.io.StringReader;
import java.io.StringWriter;
import java.sql.*;
import java.util.Properties;
import org.postgresql.PGConnection;
import org.postgresql.copy.CopyManager;
import org.postgresql.largeobject.LargeObject;
import org.postgresql.largeobject.LargeObjectManager;

public class Jdbc {
    static String url;
    static Properties properties = new Properties();

    static Connection connect() throws SQLException {
        return DriverManager.getConnection(url, properties);
    }

    static void check(boolean ok, String what) {
        if (!ok)
            throw new AssertionError(what);
    }

    static void fails(Connection c, String sql, String state) throws SQLException {
        try (Statement s = c.createStatement()) {
            s.execute(sql);
            throw new AssertionError(sql + " did not fail");
        } catch (SQLException e) {
            check(state.equals(e.getSQLState()), sql + ": " + e.getSQLState() + " " + e.getMessage());
        }
    }

    static void statements(Connection a, Connection b) throws SQLException {
        Connection[] both = { a, b };
        PreparedStatement[] mine = new PreparedStatement[2];
        for (int k = 0; k < 2; k++)
            mine[k] = both[k].prepareStatement("select ?::int + " + k);
        for (int i = 0; i < 20; i++)
            for (int k = 0; k < 2; k++) {
                mine[k].setInt(1, i);
                try (ResultSet r = mine[k].executeQuery()) {
                    check(r.next() && r.getInt(1) == i + k, "prepared");
                }
            }
        a.setAutoCommit(false);
        for (int i = 0; i < 5; i++) {
            mine[0].setInt(1, i);
            try (ResultSet r = mine[0].executeQuery()) {
                check(r.next() && r.getInt(1) == i, "prepared in a transaction");
            }
            a.commit();
        }
        Savepoint p = a.setSavepoint();
        fails(a, "select 1/0", "22012");
        a.rollback(p);
        a.commit();
        a.setAutoCommit(true);
        for (PreparedStatement s : mine)
            s.close();
    }

    static void batch(Connection c) throws SQLException {
        try (Statement s = c.createStatement()) {
            s.execute("truncate drv");
        }
        c.setAutoCommit(false);
        try (PreparedStatement s = c.prepareStatement("insert into drv values (?, ?)")) {
            for (int i = 0; i < 3000; i++) {
                s.setInt(1, i);
                s.setString(2, "row " + i);
                s.addBatch();
            }
            check(s.executeBatch().length == 3000, "batch");
        }
        c.commit();
        // Rows in portions, from a portal of the transaction.
        try (PreparedStatement s = c.prepareStatement("select a, b from drv order by a")) {
            s.setFetchSize(100);
            int n = 0;
            try (ResultSet r = s.executeQuery()) {
                while (r.next())
                    check(r.getInt(1) == n++, "order of rows");
            }
            check(n == 3000, "rows in portions: " + n);
        }
        c.commit();
        try (PreparedStatement s = c.prepareStatement("insert into drv values (?, ?)")) {
            for (int i = 0; i < 10; i++) {
                s.setInt(1, i);
                s.setString(2, i == 5 ? "bad\0zero" : "good");
                s.addBatch();
            }
            s.executeBatch();
            throw new AssertionError("a batch with an error went through");
        } catch (SQLException e) {
            c.rollback();
        }
        c.setAutoCommit(true);
    }

    static void copy(Connection c) throws Exception {
        CopyManager m = c.unwrap(PGConnection.class).getCopyAPI();
        StringBuilder in = new StringBuilder();
        for (int i = 0; i < 20000; i++)
            in.append(i).append("\ttext\n");
        check(m.copyIn("copy drv from stdin", new StringReader(in.toString())) == 20000, "copy in");
        StringWriter out = new StringWriter();
        check(m.copyOut("copy (select * from drv where b = 'text') to stdout", out) == 20000, "copy out");
        check(out.toString().length() == in.length(), "copied text");
    }

    static void cancelled(Connection c) throws Exception {
        try (Statement s = c.createStatement()) {
            s.setQueryTimeout(1);
            s.execute("select pg_sleep(60)");
            throw new AssertionError("no timeout");
        } catch (SQLException e) {
            check("57014".equals(e.getSQLState()), "cancel: " + e.getSQLState());
        }
    }

    static void largeObject(Connection c) throws SQLException {
        c.setAutoCommit(false);
        LargeObjectManager m = c.unwrap(PGConnection.class).getLargeObjectAPI();
        long oid = m.createLO(LargeObjectManager.READWRITE);
        LargeObject o = m.open(oid, LargeObjectManager.WRITE);
        o.write(new byte[300000]);
        o.close();
        c.commit();
        o = m.open(oid, LargeObjectManager.READ);
        check(o.read(400000).length == 300000, "large object");
        o.close();
        m.delete(oid);
        c.commit();
        c.setAutoCommit(true);
    }

    static final String[] SHOWS = { "stats", "stats_totals", "stats_averages", "totals", "servers", "clients", "pools",
        "peer_pools", "lists", "users", "databases", "fds", "sockets", "active_sockets", "config", "mem", "dns_hosts",
        "dns_zones", "version", "state", "peers", "herd", "routes" };

    /* The driver's own way: extended protocol, numbers in binary, SET extra_float_digits before all. */
    static void console() throws SQLException {
        try (Connection c = DriverManager.getConnection(url.replace("/db", "/pgbouncer"), properties);
             Statement s = c.createStatement()) {
            for (String what : SHOWS) {
                for (int i = 0; i < 3; i++) {
                    try (PreparedStatement p = c.prepareStatement("show " + what); ResultSet r = p.executeQuery()) {
                        int rows = 0;
                        for (; r.next(); rows++) {
                            for (int k = 1; k <= r.getMetaData().getColumnCount(); k++)
                                r.getObject(k);
                        }
                        check(rows > 0 || what.matches("active_sockets|servers|peer.*|dns.*|herd|routes"), "rows of " + what);
                    }
                }
            }
            try (ResultSet r = s.executeQuery("show databases")) {
                check(r.next() && r.getInt("pool_size") > 0, "pool_size");
            }
            try (ResultSet r = s.executeQuery("show clients")) {
                check(r.next() && r.getInt("id") > 0 && r.getLong("id") > 0, "id");
            }
            s.execute("set query_timeout = 7");
            fails(c, "select 1", "08P01");
            fails(c, "show nothing", "08P01");
            c.setAutoCommit(false);
            s.execute("show pools");
            c.commit();
            c.rollback();
            c.setAutoCommit(true);
        }
    }

    public static void main(String[] args) throws Exception {
        url = "jdbc:postgresql://127.0.0.1:" + args[0] + "/db";
        properties.setProperty("user", "u_scram");
        properties.setProperty("password", args[1]);
        properties.setProperty("sslmode", "require");
        properties.setProperty("prepareThreshold", "1");
        properties.setProperty("ApplicationName", "jdbc test");
        console();
        try (Connection a = connect(); Connection b = connect()) {
            statements(a, b);
            batch(b);
            copy(a);
            cancelled(b);
            largeObject(a);
            fails(a, "select nothing from nowhere", "42P01");
            statements(b, a);
            check(a.getMetaData().getTables(null, "public", "drv", null).next(), "metadata");
        }
    }
}
